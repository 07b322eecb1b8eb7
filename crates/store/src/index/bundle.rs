//! The operations of a bundle as one text: they share everything else.

use crate::{
    StoreError,
    database::{from_json, to_json},
};

const WHAT: &str = "the operations of a bundle";

/// One operation in its bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    /// Its number in the session.
    pub(super) op: i64,
    /// When it was asked, in microseconds.
    pub(super) at: i64,
    /// Rows and microseconds of its answer, if there is one.
    pub(super) answer: Option<(i64, i64)>,
}

/// Writes operations, each number and time as its distance from the one before.
pub(super) fn write(operations: &[Operation]) -> Result<String, StoreError> {
    let (mut numbers, mut op, mut at) = (Vec::with_capacity(operations.len() * 4), 0i64, 0i64);
    for operation in operations {
        let (rows, duration) = operation.answer.unwrap_or((-1, -1));
        numbers.extend([operation.op.wrapping_sub(op), operation.at.wrapping_sub(at), rows, duration]);
        (op, at) = (operation.op, operation.at);
    }
    to_json(WHAT, &numbers)
}

/// Reads what [`write`] wrote.
pub(super) fn read(text: &str) -> Result<Vec<Operation>, StoreError> {
    let numbers: Vec<i64> = from_json(WHAT, text)?;
    let (mut op, mut at) = (0i64, 0i64);
    let (fours, rest) = numbers.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(StoreError::corrupt(WHAT, "half an operation"));
    }
    let operation = |[ops, times, rows, duration]: &[i64; 4]| {
        (op, at) = (op.wrapping_add(*ops), at.wrapping_add(*times));
        Operation { op, at, answer: (*rows >= 0).then_some((*rows, *duration)) }
    };
    Ok(fours.iter().map(operation).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn operations_are_read_as_they_were_written(all in prop::collection::vec((any::<i64>(), any::<i64>(), prop::option::of((0..=i64::MAX, 0..=i64::MAX))), 0..20)) {
            let all: Vec<Operation> = all.into_iter().map(|(op, at, answer)| Operation { op, at, answer }).collect();
            prop_assert_eq!(read(&write(&all).unwrap()).unwrap(), all);
        }
    }

    #[test]
    fn what_is_not_whole_operations_is_an_error() {
        assert!(read("[1,2,3]").is_err() && read("{}").is_err() && read("[1,2,3,\"x\"]").is_err());
    }
}
