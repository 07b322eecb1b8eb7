//! Expressions that are the same for every row and can be told without the server.

use std::cmp::Ordering;

use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, SelectStmt, SubLinkType, a_const::Val},
};

use super::{
    ParameterValue,
    analysis::{Known, Parameters, boxed, inner, strings},
    looks::{Aspect, Look, Looks, Place},
    names::qualified,
};

/// A value, as far as comparisons need it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// NULL.
    Null,
    /// TRUE or FALSE.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Anything written as a string, of a text type or of none yet.
    Text(String),
    /// As [`Self::Text`], of a type that may have several ways to write a value (`2020-1-1`), or whose type is not known: two that are written
    /// otherwise may be equal.
    Spelled(String),
    /// It is there, it is not NULL, and which it is cannot be told.
    Hidden,
}

impl Value {
    /// How it is written, if it is written as a string.
    pub(super) fn written(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Spelled(text) => Some(text),
            _ => None,
        }
    }
}

/// How deep a constant is looked into.
const MAX_DEPTH: usize = 64;

/// Below these, every whole number is one of its own as a `float8`, and as a `float4`.
const EXACT: f64 = 9_007_199_254_740_992.0;
const EXACT_FLOAT4: f64 = 16_777_216.0;

/// The value, if it is a constant of a kind known here; `$1` and its like by their values.
pub(super) fn value(node: &Node, parameters: &Parameters) -> Option<Value> {
    let mut looks = vec![];
    let value = fold(node, parameters, MAX_DEPTH, &mut looks);
    parameters.looks.note(looks);
    value
}

/// The constant as text, for names given to functions.
pub(super) fn text(node: &Node, parameters: &Parameters) -> Option<String> {
    match value(node, parameters)? {
        Value::Text(text) | Value::Spelled(text) => Some(text),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Hidden => None,
    }
}

/// A constant whose value nobody looked at yet.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    value: Value,
    looks: Vec<Look>,
    noted: Looks,
}

impl Constant {
    /// One that is the same whatever the statement says.
    pub(super) fn known(value: Value) -> Self {
        Self { value, looks: vec![], noted: Looks::default() }
    }

    /// Looks at the value.
    pub(super) fn value(&self) -> &Value {
        self.noted.note(self.looks.iter().copied());
        &self.value
    }

    /// Whether it is NULL, which was noted when it was made.
    pub(super) fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

/// The constant, as [`value`] gives it, to be looked at where it matters. Whether there is one, and whether it is NULL, is looked at here.
pub(super) fn constant(node: &Node, parameters: &Parameters) -> Option<Constant> {
    let mut looks = vec![];
    let folded = fold(node, parameters, MAX_DEPTH, &mut looks);
    let noted = parameters.looks.clone();
    let aspect = aspect_of_presence(node);
    noted.note(looks.iter().map(|(place, _)| (*place, aspect)));
    folded.map(|value| Constant { value, looks, noted })
}

/// What whether a constant is there, and NULL, depends on: little of a literal or parameter by itself, everything of what is made of them.
fn aspect_of_presence(node: &Node) -> Aspect {
    match inner(node) {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => Aspect::Presence,
        Some(NodeEnum::TypeCast(cast)) => {
            let alone = matches!(cast.arg.as_ref().and_then(|node| inner(node)), Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)));
            let names = cast.type_name.as_ref().map(|name| strings(&name.names)).unwrap_or_default();
            if alone && is_number(names.last().copied().unwrap_or_default()) { Aspect::Numeric } else { Aspect::Value }
        }
        _ => Aspect::Value,
    }
}

fn is_number(type_name: &str) -> bool {
    matches!(type_name, "int2" | "int4" | "int8" | "numeric" | "float4" | "float8")
}

/// Whether a text is read as a number here.
pub(super) fn as_number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

fn fold(node: &Node, parameters: &Parameters, depth: usize, looks: &mut Vec<Look>) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    match inner(node)? {
        NodeEnum::AConst(constant) => {
            if !matches!(constant.val, None | Some(Val::Boolval(_))) {
                looks.push((Place::Literal(constant.location), Aspect::Value));
            }
            Some(match &constant.val {
                None => Value::Null,
                Some(Val::Ival(number)) => Value::Number(f64::from(number.ival)),
                Some(Val::Fval(number)) => Value::Number(number.fval.parse().ok()?),
                Some(Val::Boolval(truth)) => Value::Bool(truth.boolval),
                Some(Val::Sval(text)) => Value::Text(text.sval.clone()),
                Some(Val::Bsval(bits)) => Value::Spelled(bits.bsval.clone()),
            })
        }
        NodeEnum::ParamRef(parameter) => match &parameters.known {
            Known::Given(values) => {
                looks.push((Place::Parameter(parameter.number), Aspect::Value));
                let at = usize::try_from(parameter.number).ok()?.checked_sub(1)?;
                match values.get(at)? {
                    ParameterValue::Null => Some(Value::Null),
                    ParameterValue::Text(text) => Some(Value::Spelled(text.clone())),
                    ParameterValue::Unreadable => None,
                }
            }
            Known::Later | Known::Never => None,
        },
        NodeEnum::TypeCast(cast) => {
            let names = cast.type_name.as_ref().map(|name| strings(&name.names)).unwrap_or_default();
            let cut = cast.type_name.as_ref().is_some_and(|name| !name.typmods.is_empty() || !name.array_bounds.is_empty());
            let value = fold(cast.arg.as_ref()?, parameters, depth, looks)?;
            if cut { Some(trimmed(value)) } else { converted(value, names.last().copied().unwrap_or_default()) }
        }
        // By some collations, texts that are written otherwise are equal.
        NodeEnum::CollateClause(clause) => Some(spelled(fold(clause.arg.as_ref()?, parameters, depth, looks)?)),
        NodeEnum::BoolExpr(expression) => {
            let values: Vec<Option<Value>> = expression.args.iter().map(|node| fold(node, parameters, depth, looks)).collect();
            logic(expression.boolop(), &values)
        }
        NodeEnum::NullTest(test) => {
            let null = fold(test.arg.as_ref()?, parameters, depth, looks)? == Value::Null;
            Some(Value::Bool(null == (test.nulltesttype() == NullTestType::IsNull)))
        }
        NodeEnum::BooleanTest(test) => {
            Some(Value::Bool(boolean_test(test.booltesttype(), truth(&fold(test.arg.as_ref()?, parameters, depth, looks)?)?)))
        }
        NodeEnum::AExpr(expression) => operation(expression, parameters, depth, looks),
        NodeEnum::CoalesceExpr(coalesce) => {
            for node in &coalesce.args {
                match fold(node, parameters, depth, looks)? {
                    Value::Null => {}
                    value => return Some(value),
                }
            }
            Some(Value::Null)
        }
        NodeEnum::SubLink(link) if link.sub_link_type() == SubLinkType::ExprSublink => match boxed(link.subselect.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) if gives_its_value(select) => match select.target_list.first().and_then(inner) {
                Some(NodeEnum::ResTarget(target)) => fold(target.val.as_ref()?, parameters, depth, looks),
                _ => None,
            },
            _ => None,
        },
        NodeEnum::FuncCall(call) => {
            let [argument] = call.args.as_slice() else { return None };
            let (schema, name) = qualified(&call.funcname);
            if !matches!(schema, "" | "pg_catalog") {
                return None;
            }
            called(name, fold(argument, parameters, depth, looks)?)
        }
        _ => None,
    }
}

/// Whether a query without sources gives one row with the value it shows.
fn gives_its_value(select: &SelectStmt) -> bool {
    select.from_clause.is_empty()
        && select.where_clause.is_none()
        && select.larg.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.having_clause.is_none()
        && select.group_clause.is_empty()
}

/// What a few functions give of one constant. Letters beyond ASCII are another matter in every locale.
fn called(name: &str, value: Value) -> Option<Value> {
    match value {
        Value::Text(text) if text.is_ascii() => match name {
            "lower" => Some(Value::Text(text.to_ascii_lowercase())),
            "upper" => Some(Value::Text(text.to_ascii_uppercase())),
            "length" | "char_length" | "character_length" => Some(Value::Number(f64::from(u32::try_from(text.len()).ok()?))),
            _ => None,
        },
        Value::Number(number) => match name {
            "abs" => Some(Value::Number(number.abs())),
            "floor" => Some(Value::Number(number.floor())),
            "ceil" | "ceiling" => Some(Value::Number(number.ceil())),
            "trunc" => Some(Value::Number(number.trunc())),
            "sign" => Some(Value::Number(if number == 0.0 { 0.0 } else { number.signum() })),
            _ => None,
        },
        _ => None,
    }
}

/// The same where what it is compared with is a matter of its type.
fn spelled(value: Value) -> Value {
    match value {
        Value::Text(text) => Value::Spelled(text),
        other => other,
    }
}

/// After a cast to a type with a length or precision, or to an array.
fn trimmed(value: Value) -> Value {
    match value {
        Value::Null => Value::Null,
        // Arrays are looked into by how they are written.
        Value::Text(text) | Value::Spelled(text) if text.starts_with('{') => Value::Spelled(text),
        _ => Value::Hidden,
    }
}

fn converted(value: Value, to: &str) -> Option<Value> {
    Some(match (value, to) {
        (Value::Null, _) => Value::Null,
        (Value::Text(text) | Value::Spelled(text), "bool") => Value::Bool(boolean(&text)?),
        (Value::Number(number), "bool") => Value::Bool(number != 0.0),
        (Value::Text(text) | Value::Spelled(text), number) if is_number(number) => Value::Number(as_number(&text)?),
        (Value::Text(text) | Value::Spelled(text), "text" | "varchar") => Value::Text(text),
        // It keeps one letter.
        (Value::Text(_) | Value::Spelled(_), "char") => Value::Hidden,
        (Value::Text(text) | Value::Spelled(text), _) => Value::Spelled(text),
        // To whole numbers it is rounded; of a half it depends on the type which way.
        (Value::Number(number), "int2" | "int4" | "int8") if number.fract().abs() != 0.5 => Value::Number(number.round()),
        (Value::Number(number), "numeric" | "float8") => Value::Number(number),
        (Value::Number(number), "float4") if number.fract() == 0.0 && number.abs() < EXACT_FLOAT4 => Value::Number(number),
        (Value::Number(number), "text" | "varchar" | "bpchar") => Value::Spelled(number.to_string()),
        (Value::Bool(truth), "bool") => Value::Bool(truth),
        (Value::Bool(truth), "text" | "varchar" | "bpchar") => Value::Text(truth.to_string()),
        (Value::Bool(truth), "int4") => Value::Number(f64::from(u8::from(truth))),
        _ => Value::Hidden,
    })
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "" | "o" => None,
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        other if "true".starts_with(other) || "yes".starts_with(other) => Some(true),
        other if "false".starts_with(other) || "no".starts_with(other) => Some(false),
        _ => None,
    }
}

/// The truth of a value where a condition stands: none of either for NULL, nothing if it is no truth value.
pub(super) fn truth(value: &Value) -> Option<Option<bool>> {
    match value {
        Value::Null => Some(None),
        Value::Bool(truth) => Some(Some(*truth)),
        Value::Text(text) | Value::Spelled(text) => boolean(text).map(Some),
        Value::Number(_) | Value::Hidden => None,
    }
}

fn boolean_test(test: BoolTestType, truth: Option<bool>) -> bool {
    match test {
        BoolTestType::IsTrue => truth == Some(true),
        BoolTestType::IsNotTrue => truth != Some(true),
        BoolTestType::IsFalse => truth == Some(false),
        BoolTestType::IsNotFalse => truth != Some(false),
        BoolTestType::IsUnknown => truth.is_none(),
        BoolTestType::IsNotUnknown | BoolTestType::Undefined => truth.is_some(),
    }
}

fn logic(kind: BoolExprType, values: &[Option<Value>]) -> Option<Value> {
    let truths: Vec<Option<Option<bool>>> = values.iter().map(|value| value.as_ref().and_then(truth)).collect();
    let decisive = kind == BoolExprType::OrExpr;
    match kind {
        BoolExprType::NotExpr => Some(truths.first()?.as_ref()?.map_or(Value::Null, |truth| Value::Bool(!truth))),
        _ if truths.contains(&Some(Some(decisive))) => Some(Value::Bool(decisive)),
        _ if truths.contains(&None) => None,
        _ if truths.contains(&Some(None)) => Some(Value::Null),
        _ => Some(Value::Bool(!decisive)),
    }
}

fn operation(expression: &AExpr, parameters: &Parameters, depth: usize, looks: &mut Vec<Look>) -> Option<Value> {
    let (schema, name) = qualified(&expression.name);
    if !matches!(schema, "" | "pg_catalog") {
        return None;
    }
    let Some(left) = &expression.lexpr else { return signed(name, fold(expression.rexpr.as_ref()?, parameters, depth, looks)?) };
    let left = fold(left, parameters, depth, looks)?;
    match expression.kind() {
        AExprKind::AexprOp => binary(name, &left, &fold(expression.rexpr.as_ref()?, parameters, depth, looks)?),
        AExprKind::AexprDistinct => distinct(&left, &fold(expression.rexpr.as_ref()?, parameters, depth, looks)?).map(Value::Bool),
        AExprKind::AexprNotDistinct => distinct(&left, &fold(expression.rexpr.as_ref()?, parameters, depth, looks)?).map(|other| Value::Bool(!other)),
        AExprKind::AexprIn => {
            let Some(NodeEnum::List(list)) = boxed(expression.rexpr.as_ref()) else { return None };
            let tests: Vec<Option<Value>> = list.items.iter().map(|item| binary(name, &left, &fold(item, parameters, depth, looks)?)).collect();
            logic(if name == "=" { BoolExprType::OrExpr } else { BoolExprType::AndExpr }, &tests)
        }
        AExprKind::AexprBetween => {
            let Some(NodeEnum::List(list)) = boxed(expression.rexpr.as_ref()) else { return None };
            let [low, high] = list.items.as_slice() else { return None };
            let low = binary(">=", &left, &fold(low, parameters, depth, looks)?);
            let high = binary("<=", &left, &fold(high, parameters, depth, looks)?);
            logic(BoolExprType::AndExpr, &[low, high])
        }
        AExprKind::AexprLike if name == "~~" => match (left, fold(expression.rexpr.as_ref()?, parameters, depth, looks)?) {
            (Value::Text(_), Value::Text(pattern) | Value::Spelled(pattern)) if matches_everything(&pattern) => Some(Value::Bool(true)),
            (Value::Text(text), Value::Text(pattern)) if !pattern.contains(['%', '_', '\\']) => Some(Value::Bool(text == pattern)),
            _ => None,
        },
        _ => None,
    }
}

/// A LIKE pattern of nothing but `%`.
pub(super) fn matches_everything(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%')
}

/// Whether two values are distinct.
fn distinct(left: &Value, right: &Value) -> Option<bool> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(false),
        (Value::Null, _) | (_, Value::Null) => Some(true),
        _ => compare(left, right).map(Ordering::is_ne),
    }
}

/// A sign before a number.
fn signed(name: &str, value: Value) -> Option<Value> {
    match (name, value) {
        (_, Value::Null) => Some(Value::Null),
        ("-", Value::Number(number)) => Some(Value::Number(-number)),
        ("+", Value::Number(number)) => Some(Value::Number(number)),
        _ => None,
    }
}

fn binary(name: &str, left: &Value, right: &Value) -> Option<Value> {
    if matches!((left, right), (Value::Null, _) | (_, Value::Null)) {
        return Some(Value::Null);
    }
    let is = |holds: fn(Ordering) -> bool| {
        let order = compare(left, right)?;
        // How unequal strings sort depends on the collation.
        let sorted_texts = left.written().is_some() && right.written().is_some() && order.is_ne() && !matches!(name, "=" | "<>" | "!=");
        (!sorted_texts).then_some(Value::Bool(holds(order)))
    };
    match name {
        "=" => is(Ordering::is_eq),
        "<>" | "!=" => is(Ordering::is_ne),
        "<" => is(Ordering::is_lt),
        "<=" => is(Ordering::is_le),
        ">" => is(Ordering::is_gt),
        ">=" => is(Ordering::is_ge),
        _ => arithmetic(name, left, right),
    }
}

/// How two values compare, if that can be told for certain.
pub(super) fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => in_order(*a, *b),
        (Value::Text(a) | Value::Spelled(a), Value::Number(b)) => in_order(as_number(a)?, *b),
        (Value::Number(a), Value::Text(b) | Value::Spelled(b)) => in_order(*a, as_number(b)?),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Text(a) | Value::Spelled(a), Value::Text(b) | Value::Spelled(b)) if a == b || are_other_words(a, b) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Text(b) | Value::Spelled(b)) => Some(a.cmp(&boolean(b)?)),
        (Value::Text(a) | Value::Spelled(a), Value::Bool(b)) => Some(boolean(a)?.cmp(b)),
        _ => None,
    }
}

/// Numbers that are written as decimals are kept as `f64` here: where two of those are equal, the numbers need not be.
fn in_order(a: f64, b: f64) -> Option<Ordering> {
    let certain = a.fract() == 0.0 && a.abs() < EXACT;
    a.partial_cmp(&b).filter(|order| order.is_ne() || certain)
}

/// Whether two texts are words that mean another thing whatever type they are of: no two ways to write one number, moment or truth.
fn are_other_words(a: &str, b: &str) -> bool {
    const OF_TYPES: &[&str] = &[
        "t",
        "true",
        "y",
        "yes",
        "on",
        "f",
        "false",
        "n",
        "no",
        "of",
        "off",
        "inf",
        "infinity",
        "nan",
        "now",
        "today",
        "tomorrow",
        "yesterday",
        "epoch",
        "allballs",
    ];
    let word = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_') && !OF_TYPES.iter().any(|of_type| of_type.eq_ignore_ascii_case(text))
    };
    word(a) && word(b) && !a.eq_ignore_ascii_case(b)
}

fn arithmetic(name: &str, left: &Value, right: &Value) -> Option<Value> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < EXACT).then_some(Value::Number(number));
    match (name, left, right) {
        ("||", Value::Text(a), Value::Text(b)) => Some(Value::Text(format!("{a}{b}"))),
        (_, Value::Number(a), Value::Number(b)) if whole(*a).is_some() && whole(*b).is_some() => match name {
            "+" => whole(a + b),
            "-" => whole(a - b),
            "*" => whole(a * b),
            _ => None,
        },
        _ => None,
    }
}

/// What an array that is written as one string holds, if none of it is quoted or an array itself.
pub(super) fn elements(array: &str) -> Option<Vec<&str>> {
    let inside = array.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inside.contains(['"', '\\', '{', '}']) {
        return None;
    }
    Some(inside.split(',').map(str::trim).filter(|_| !inside.trim().is_empty()).collect())
}
