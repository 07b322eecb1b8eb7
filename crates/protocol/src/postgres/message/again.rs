//! Messages as they were decoded, written again: what is read must be all that was there.

use bytes::{BufMut, BytesMut};

use super::{
    Unencodable,
    backend::{self, Authentication, Backend, CopyResponse},
    framed,
    frontend::{self, Frontend},
    put_cell, put_count, put_cstr, put_formats,
};

/// Appends a decoded message of a caller again.
pub(crate) fn again(message: &Frontend<'_>) -> BytesMut {
    written(|out| match *message {
        Frontend::Query(query) => frontend::query(out, query.statement),
        Frontend::Parse(parse) => frontend::parse(out, parse.name, parse.statement, &parse.types.iter().collect::<Vec<_>>()),
        Frontend::Bind(bind) => frontend::bind(
            out,
            bind.portal,
            bind.statement,
            &bind.formats.iter().collect::<Vec<_>>(),
            &bind.parameters.iter().collect::<Vec<_>>(),
            &bind.result_formats.iter().collect::<Vec<_>>(),
        ),
        Frontend::Describe(named) => frontend::describe(out, named.kind, named.name),
        Frontend::Close(named) => frontend::close(out, named.kind, named.name),
        Frontend::Execute(execute) => frontend::execute(out, execute.portal, execute.max_rows),
        Frontend::Flush => {
            frontend::flush(out);
            Ok(())
        }
        Frontend::Sync => {
            frontend::sync(out);
            Ok(())
        }
        Frontend::CopyData(data) => frontend::copy_data(out, data),
        Frontend::CopyDone => {
            frontend::copy_done(out);
            Ok(())
        }
        Frontend::CopyFail(why) => frontend::copy_fail(out, why),
        Frontend::FunctionCall(call) => framed(out, b'F', |out| {
            out.put_u32(call.function);
            put_formats(out, &call.formats.iter().collect::<Vec<_>>())?;
            put_count(out, call.arguments.len())?;
            call.arguments.iter().try_for_each(|argument| put_cell(out, argument))?;
            out.put_i16(call.result_format.code());
            Ok(())
        }),
        Frontend::Password(secret) => frontend::password(out, secret),
        Frontend::Terminate => {
            frontend::terminate(out);
            Ok(())
        }
    })
}

/// Appends a decoded message of a target again.
pub(crate) fn back(message: &Backend<'_>) -> BytesMut {
    let copy = |out: &mut BytesMut, tag: u8, copy: &CopyResponse<'_>| {
        framed(out, tag, |out| {
            out.put_u8(u8::try_from(copy.format.code()).unwrap());
            put_formats(out, &copy.columns.iter().collect::<Vec<_>>())
        })
    };
    written(|out| match message {
        Backend::Authentication(asked) => authentication(out, asked),
        Backend::BackendKeyData(key) => backend::backend_key_data(out, key.process_id, key.secret),
        Backend::NegotiateProtocolVersion(negotiate) => framed(out, b'v', |out| {
            out.put_i32(negotiate.newest);
            out.put_i32(i32::try_from(negotiate.unknown.len()).unwrap());
            negotiate.unknown.iter().try_for_each(|name| put_cstr(out, name))
        }),
        Backend::ParameterStatus(status) => backend::parameter_status(out, status.name, status.value),
        Backend::ReadyForQuery(transaction) => {
            backend::ready_for_query(out, *transaction);
            Ok(())
        }
        Backend::ParseComplete => {
            backend::parse_complete(out);
            Ok(())
        }
        Backend::BindComplete => {
            backend::bind_complete(out);
            Ok(())
        }
        Backend::CloseComplete => {
            backend::close_complete(out);
            Ok(())
        }
        Backend::ParameterDescription(types) => backend::parameter_description(out, &types.types.iter().collect::<Vec<_>>()),
        Backend::RowDescription(body) => framed(out, b'T', |out| {
            out.put_slice(body);
            Ok(())
        }),
        Backend::NoData => {
            backend::no_data(out);
            Ok(())
        }
        Backend::DataRow(body) => framed(out, b'D', |out| {
            out.put_slice(body);
            Ok(())
        }),
        Backend::PortalSuspended => {
            backend::portal_suspended(out);
            Ok(())
        }
        Backend::CommandComplete(complete) => backend::command_complete(out, complete.tag),
        Backend::EmptyQueryResponse => {
            backend::empty_query_response(out);
            Ok(())
        }
        Backend::ErrorResponse(said) => backend::report(out, b'E', &said.iter().collect::<Vec<_>>()),
        Backend::NoticeResponse(said) => backend::report(out, b'N', &said.iter().collect::<Vec<_>>()),
        Backend::NotificationResponse(said) => framed(out, b'A', |out| {
            out.put_i32(said.process_id);
            put_cstr(out, said.channel)?;
            put_cstr(out, said.payload)
        }),
        Backend::CopyInResponse(begins) => copy(out, b'G', begins),
        Backend::CopyOutResponse(begins) => copy(out, b'H', begins),
        Backend::CopyBothResponse(begins) => copy(out, b'W', begins),
        Backend::CopyData(data) => frontend::copy_data(out, data),
        Backend::CopyDone => {
            frontend::copy_done(out);
            Ok(())
        }
        Backend::FunctionCallResponse(value) => framed(out, b'V', |out| put_cell(out, *value)),
    })
}

fn authentication(out: &mut BytesMut, asked: &Authentication<'_>) -> Result<(), Unencodable> {
    match asked {
        Authentication::Ok => {
            backend::authentication_ok(out);
            Ok(())
        }
        Authentication::CleartextPassword => {
            backend::authentication_cleartext_password(out);
            Ok(())
        }
        Authentication::Md5Password { salt } => {
            backend::authentication_md5_password(out, *salt);
            Ok(())
        }
        Authentication::Sasl(offered) => framed(out, b'R', |out| {
            out.put_i32(10);
            offered.iter().try_for_each(|name| put_cstr(out, name))?;
            out.put_u8(0);
            Ok(())
        }),
        Authentication::SaslContinue(data) => backend::authentication_sasl_continue(out, data),
        Authentication::SaslFinal(data) => backend::authentication_sasl_final(out, data),
        Authentication::Other(code) => framed(out, b'R', |out| {
            out.put_i32(*code);
            Ok(())
        }),
    }
}

/// A message as raw parts, for what the gateway never writes.
pub(crate) fn raw(tag: u8, body: &[u8]) -> BytesMut {
    written(|out| {
        framed(out, tag, |out| {
            out.put_slice(body);
            Ok(())
        })
    })
}

pub(crate) fn written(write: impl FnOnce(&mut BytesMut) -> Result<(), Unencodable>) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out).unwrap();
    out
}
