//! What comes back: masked first, then recorded as the caller will see it, then handed on.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use evidence::record::{Cell, CopyData, Direction, Record, Rows, Shape, ShapeColumn};
use model::facts::CopyLayout;
use policy::masking::{self, CellPlan, Field, RowPlan, Sight};
use protocol::{
    Side,
    postgres::{
        copy::{Change, CopyRewriter},
        dialogue::{Reply, ReplyKind},
        frame::HEAD_BYTES,
        message::{Format, backend::CopyResponse},
        rows::{self, RowDescription},
    },
};

use crate::{ask::Broken, open::Session, record};

impl Session {
    /// Masks and records frames of an answer; hands back what the caller gets.
    ///
    /// # Errors
    /// A row whose mask is not known or that cannot be rebuilt, or a recording that cannot be written: the session must end.
    pub fn show(&mut self, reply: Reply) -> Result<Bytes, Broken> {
        match reply.kind {
            ReplyKind::Shape { forward } => {
                self.show_shape(reply.operation, &reply.frames)?;
                Ok(if forward { reply.frames } else { Bytes::new() })
            }
            ReplyKind::Rows => self.show_rows(reply.operation, reply.frames),
            ReplyKind::CopyBegins => {
                self.copy_begins(reply.operation, &reply.frames)?;
                Ok(reply.frames)
            }
            ReplyKind::CopyRows => self.show_copy(reply.operation, &reply.frames),
            ReplyKind::Copy(side) => {
                // A stream under a plan is rewritten or was refused; one that comes all the same cannot be masked.
                let planned = self.running.get(&reply.operation).is_none_or(|running| running.plan.is_some());
                if side == Side::Target && planned {
                    return Err(Broken::Masking);
                }
                if self.records_rows() {
                    let direction = match side {
                        Side::Caller => Direction::In,
                        Side::Target => Direction::Out,
                    };
                    self.record_copied(reply.operation, direction, &reply.frames)?;
                }
                Ok(reply.frames)
            }
        }
    }

    fn show_shape(&mut self, operation: u64, frame: &Bytes) -> Result<(), Broken> {
        let description = RowDescription::decode(frame.get(HEAD_BYTES..).unwrap_or_default()).map_err(|_| Broken::Masking)?;
        let records = self.records_rows();
        let sight = Sight { keys: self.guard.masks(), catalog: &self.catalog };
        let Some(running) = self.running.get_mut(&operation) else { return Err(Broken::Masking) };
        let names: Vec<String> = description.iter().map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
        let fields: Vec<Field<'_>> = description
            .iter()
            .zip(&names)
            .map(|(field, name)| Field {
                name,
                table_oid: field.table_oid,
                column: field.column,
                type_oid: field.type_oid,
                binary: field.format != Format::Text,
            })
            .collect();
        let plan = running.plan.as_ref().map_or_else(|| RowPlan { cells: vec![CellPlan::Pass; fields.len()] }, |plan| plan.columns(&fields, sight));
        running.masked = plan.masked_columns().filter_map(|(index, _)| names.get(index).cloned()).collect();
        running.binary = fields.iter().map(|field| field.binary).collect();
        let columns = fields.iter().zip(&plan.cells).map(|(field, cell)| ShapeColumn {
            name: field.name.to_owned(),
            type_oid: field.type_oid,
            treatment: record::treatment(cell),
        });
        let shape = Shape { op: operation, columns: columns.collect() };
        running.rows = Some(plan);
        running.names = names;
        if records { self.append_shown(&Record::Shape(shape)) } else { Ok(()) }
    }

    fn copy_begins(&mut self, operation: u64, frame: &Bytes) -> Result<(), Broken> {
        let begins = CopyResponse::decode(frame.get(HEAD_BYTES..).unwrap_or_default()).map_err(|_| Broken::Masking)?;
        let sight = Sight { keys: self.guard.masks(), catalog: &self.catalog };
        let running = self.running.get_mut(&operation).ok_or(Broken::Masking)?;
        let plan = running.plan.clone().ok_or(Broken::Masking)?;
        let layout = plan.copy.clone().ok_or(Broken::Masking)?;
        // What it says of itself is how it is read.
        if (begins.format != Format::Text) != (layout == CopyLayout::Binary) {
            return Err(Broken::Masking);
        }
        let (rows, names) = plan.copied(begins.columns.len(), layout == CopyLayout::Binary, sight);
        running.masked = rows.masked_columns().filter_map(|(index, _)| names.get(index).cloned()).collect();
        running.copy = Some(CopyRewriter::new(layout, begins.columns.len()));
        running.rows = Some(rows);
        running.names = names;
        Ok(())
    }

    fn show_copy(&mut self, operation: u64, frames: &Bytes) -> Result<Bytes, Broken> {
        let running = self.running.get_mut(&operation).ok_or(Broken::Masking)?;
        let (Some(plan), Some(rewriter)) = (&running.rows, &mut running.copy) else { return Err(Broken::Masking) };
        let mut out = BytesMut::with_capacity(frames.len());
        let mut detected = Vec::new();
        for body in bodies(frames) {
            let change = |index: usize, value: Option<&[u8]>| {
                let change = copied(plan.cells.get(index), value);
                if change != Change::Keep && matches!(plan.cells.get(index), Some(CellPlan::Detect(_))) {
                    detected.push(index);
                }
                change
            };
            rewriter.rewrite(body?, change, &mut out).map_err(|_| Broken::Masking)?;
        }
        note_detected(&running.names, &detected, &mut running.masked);
        let shown = out.freeze();
        if self.records_rows() {
            self.record_copied(operation, Direction::Out, &shown)?;
        }
        Ok(shown)
    }

    /// Records what CopyData messages carry, which may come in pieces.
    fn record_copied(&mut self, operation: u64, direction: Direction, messages: &[u8]) -> Result<(), Broken> {
        let data = match self.running.get_mut(&operation) {
            Some(running) => running.copied.read(messages),
            None => messages.to_vec(),
        };
        cells(&data).into_iter().try_for_each(|data| self.append_shown(&Record::CopyData(CopyData { op: operation, direction, data })))
    }

    /// Each value is looked at once. As long as nothing in the frames changes, nothing of them is copied.
    fn show_rows(&mut self, operation: u64, frames: Bytes) -> Result<Bytes, Broken> {
        let records = self.records_rows();
        let Some(running) = self.running.get_mut(&operation) else { return Err(Broken::Masking) };
        let Some(plan) = &running.rows else { return Err(Broken::Masking) };
        let (mut out, mut detected, mut recorded) = (None, Vec::new(), Vec::new());
        let (mut shown, mut done) = (Vec::new(), 0);
        for body in bodies(&frames) {
            let body = body?;
            let begin = done;
            done += HEAD_BYTES + body.len();
            let mut changed = false;
            for (index, cell) in rows::row(body).map_err(|_| Broken::Masking)?.iter().enumerate() {
                let now = masked(plan, index, cell);
                if !is_same(cell, now.as_deref()) {
                    changed = true;
                    if matches!(plan.cells.get(index), Some(CellPlan::Detect(_))) && !detected.contains(&index) {
                        detected.push(index);
                    }
                }
                shown.push(now);
            }
            if records {
                let cell = |(index, cell): (usize, &Option<Cow<'_, [u8]>>)| {
                    let binary = running.binary.get(index).copied().unwrap_or(true);
                    cell.as_deref().map(|bytes| Cell::new(bytes, binary))
                };
                recorded.push(shown.iter().enumerate().map(cell).collect());
            }
            if changed {
                let out = out.get_or_insert_with(|| copied_until(&frames, begin));
                let mut shown = shown.drain(..);
                rows::rewrite(body, |_, _| shown.next().flatten(), out).map_err(|_| Broken::Masking)?;
            } else if let Some(out) = &mut out {
                out.extend_from_slice(frames.get(begin..done).unwrap_or_default());
            }
            shown.clear();
        }
        note_detected(&running.names, &detected, &mut running.masked);
        if records {
            self.append_shown(&Record::Rows(Rows { op: operation, rows: recorded }))?;
        }
        Ok(out.map_or(frames, BytesMut::freeze))
    }
}

/// Data as cells: text if it is text, but for the bytes of characters that were cut apart at its begin and end.
fn cells(data: &[u8]) -> Vec<Cell> {
    const LONGEST: usize = 4;
    let begin = data.iter().take(LONGEST).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let (before, rest) = data.split_at(begin);
    let end = match std::str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return vec![Cell::new(data, true)],
        Ok(_) => rest.len(),
    };
    let (text, after) = rest.split_at(end);
    [(before, true), (text, false), (after, true)]
        .into_iter()
        .filter(|(part, _)| !part.is_empty())
        .map(|(part, binary)| Cell::new(part, binary))
        .collect()
}

/// The first bytes of frames, with room for the others.
fn copied_until(frames: &Bytes, end: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(frames.len());
    out.extend_from_slice(frames.get(..end).unwrap_or_default());
    out
}

/// Whether a value goes on untouched: not one that only looks like it.
fn is_same(cell: Option<&[u8]>, shown: Option<&[u8]>) -> bool {
    match (cell, shown) {
        (Some(cell), Some(shown)) => std::ptr::eq(cell, shown),
        (cell, shown) => cell.is_none() && shown.is_none(),
    }
}

/// What becomes of a value of a COPY. A column beyond the plan is not shown.
fn copied(plan: Option<&CellPlan>, value: Option<&[u8]>) -> Change<'static> {
    match plan {
        Some(CellPlan::Pass) => Change::Keep,
        Some(CellPlan::Detect(_)) if value.is_none() => Change::Keep,
        Some(plan) => match masking::mask_cell(plan, value) {
            Some(Cow::Borrowed(_)) if matches!(plan, CellPlan::Detect(_)) => Change::Keep,
            Some(shown) => Change::Value(Cow::Owned(shown.into_owned())),
            None => Change::Null,
        },
        None => Change::Null,
    }
}

/// The record names the columns in which something was found, each once.
fn note_detected(names: &[String], detected: &[usize], masked: &mut Vec<String>) {
    for name in detected.iter().filter_map(|index| names.get(*index)) {
        if !masked.contains(name) {
            masked.push(name.clone());
        }
    }
}

/// A column beyond the plan is not shown.
fn masked<'a>(plan: &RowPlan, index: usize, cell: Option<&'a [u8]>) -> Option<Cow<'a, [u8]>> {
    plan.cells.get(index).and_then(|plan| masking::mask_cell(plan, cell))
}

/// The bodies of a run of whole frames.
fn bodies(frames: &Bytes) -> impl Iterator<Item = Result<&[u8], Broken>> {
    let mut rest: &[u8] = frames;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let body = (|| {
            let (head, tail) = rest.split_first_chunk::<HEAD_BYTES>()?;
            let [_, a, b, c, d] = *head;
            let len = usize::try_from(i32::from_be_bytes([a, b, c, d])).ok()?.checked_sub(4)?;
            let (body, tail) = tail.split_at_checked(len)?;
            rest = tail;
            Some(body)
        })();
        if body.is_none() {
            rest = &[];
        }
        Some(body.ok_or(Broken::Masking))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(data: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let part = |cell: Cell| match cell {
            Cell::Text(text) => (text.into_bytes(), true),
            Cell::Binary { hex } => (hex.0, false),
        };
        cells(data).into_iter().map(part).collect()
    }

    #[test]
    fn text_stays_text_wherever_it_is_cut_and_no_byte_is_lost() {
        let text = "a\tZo\u{eb}\t\u{1f600}\n\u{20ac}b".as_bytes();
        for begin in 0..text.len() {
            for end in begin..=text.len() {
                let (piece, told) = (&text[begin..end], told(&text[begin..end]));
                assert_eq!(told.iter().flat_map(|(part, _)| part.clone()).collect::<Vec<_>>(), piece);
                assert!(told.iter().all(|(part, is_text)| *is_text || part.len() <= 3), "{told:?}");
            }
        }
        assert!(told(&[]).is_empty());
        assert_eq!(told(b"PGCOPY\n\xff\r\n\0"), [(b"PGCOPY\n\xff\r\n\0".to_vec(), false)]);
    }
}
