//! Spans in the JSON encoding of OTLP: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. Ids are hexadecimal, 64-bit numbers are texts.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use session::trace::Finished;

/// `SPAN_KIND_INTERNAL`, `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`, `STATUS_CODE_UNSET` and `STATUS_CODE_ERROR`, of
/// <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto>.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const UNSET: u8 = 0;
const ERROR: u8 = 2;

/// An `ExportTraceServiceRequest`.
pub(super) fn request(spans: &[Finished]) -> Value {
    let resource =
        json!({ "attributes": attributes(&[("service.name", "countersign".to_owned()), ("service.version", env!("CARGO_PKG_VERSION").to_owned())]) });
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": { "name": "countersign" }, "spans": spans }] }] })
}

fn span(span: &Finished) -> Value {
    let kind = match span.name {
        "login" | "session" => SERVER,
        "dial" => CLIENT,
        _ => INTERNAL,
    };
    let began = span.began.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.span),
        "parentSpanId": span.parent.map(|parent| hex(&parent)).unwrap_or_default(),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": began.as_nanos().to_string(),
        "endTimeUnixNano": (began + span.took).as_nanos().to_string(),
        "attributes": attributes(&span.attributes),
        "status": { "code": if span.failed { ERROR } else { UNSET } },
    })
}

fn attributes(attributes: &[(&'static str, String)]) -> Vec<Value> {
    attributes.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_written_as_the_specification_says() {
        let finished = Finished {
            trace: [0xab; 16],
            span: [1; 8],
            parent: Some([2; 8]),
            name: "dial",
            began: UNIX_EPOCH + Duration::new(1_800_000_000, 5),
            took: Duration::from_millis(3),
            attributes: vec![("client.address", "192.0.2.7".to_owned())],
            failed: true,
        };
        let written = request(&[finished]);
        assert_eq!(
            written.pointer("/resourceSpans/0/scopeSpans/0/spans/0").unwrap(),
            &json!({
                "traceId": "abababababababababababababababab", "spanId": "0101010101010101", "parentSpanId": "0202020202020202",
                "name": "dial", "kind": 3, "startTimeUnixNano": "1800000000000000005", "endTimeUnixNano": "1800000000003000005",
                "attributes": [{ "key": "client.address", "value": { "stringValue": "192.0.2.7" } }], "status": { "code": 2 },
            })
        );
        let service = written.pointer("/resourceSpans/0/resource/attributes/0").unwrap();
        assert_eq!(service, &json!({ "key": "service.name", "value": { "stringValue": "countersign" } }));
    }
}
