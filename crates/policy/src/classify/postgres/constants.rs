//! Expressions that are the same for every row and can be told without the server.

use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, SubLinkType, a_const::Val},
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
    /// Anything written as a string.
    Text(String),
}

/// How deep a constant is looked into.
const MAX_DEPTH: usize = 64;

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
        Value::Text(text) => Some(text),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => None,
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

    /// Whether it is `true` or `false` as the statement says it, which is no look at a value: words are part of its shape.
    pub(super) fn is_written_truth(&self) -> bool {
        matches!(self.value, Value::Bool(_)) && self.looks.iter().all(|(place, _)| matches!(place, Place::Literal(_)))
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
                Some(Val::Bsval(bits)) => Value::Text(bits.bsval.clone()),
            })
        }
        NodeEnum::ParamRef(parameter) => match &parameters.known {
            Known::Given(values) => {
                looks.push((Place::Parameter(parameter.number), Aspect::Value));
                let at = usize::try_from(parameter.number).ok()?.checked_sub(1)?;
                match values.get(at)? {
                    ParameterValue::Null => Some(Value::Null),
                    ParameterValue::Text(text) => Some(Value::Text(text.clone())),
                    ParameterValue::Unreadable => None,
                }
            }
            Known::Later | Known::Never => None,
        },
        NodeEnum::TypeCast(cast) => {
            let names = cast.type_name.as_ref().map(|name| strings(&name.names)).unwrap_or_default();
            converted(fold(cast.arg.as_ref()?, parameters, depth, looks)?, names.last().copied().unwrap_or_default())
        }
        NodeEnum::CollateClause(clause) => fold(clause.arg.as_ref()?, parameters, depth, looks),
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
            Some(NodeEnum::SelectStmt(select)) if select.from_clause.is_empty() && select.where_clause.is_none() && select.larg.is_none() => {
                match select.target_list.first().and_then(inner) {
                    Some(NodeEnum::ResTarget(target)) => fold(target.val.as_ref()?, parameters, depth, looks),
                    _ => None,
                }
            }
            _ => None,
        },
        NodeEnum::FuncCall(call) => {
            let [argument] = call.args.as_slice() else { return None };
            let Value::Text(text) = fold(argument, parameters, depth, looks)? else { return None };
            match qualified(&call.funcname).1 {
                "lower" => Some(Value::Text(text.to_lowercase())),
                "upper" => Some(Value::Text(text.to_uppercase())),
                "length" | "char_length" | "character_length" => Some(Value::Number(f64::from(u32::try_from(text.chars().count()).ok()?))),
                _ => None,
            }
        }
        _ => None,
    }
}

fn converted(value: Value, to: &str) -> Option<Value> {
    Some(match (value, to) {
        (Value::Null, _) => Value::Null,
        (Value::Text(text), "bool") => Value::Bool(boolean(&text)?),
        (Value::Number(number), "bool") => Value::Bool(number != 0.0),
        (Value::Text(text), number) if is_number(number) => Value::Number(as_number(&text)?),
        (Value::Number(number), "text" | "varchar" | "bpchar") => Value::Text(number.to_string()),
        (Value::Bool(truth), "text" | "varchar" | "bpchar") => Value::Text(truth.to_string()),
        (Value::Bool(truth), "int4") => Value::Number(f64::from(u8::from(truth))),
        (value, _) => value,
    })
}

fn boolean(text: &str) -> Option<bool> {
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
        Value::Text(text) => boolean(text).map(Some),
        Value::Number(_) => None,
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
    let left = fold(expression.lexpr.as_ref()?, parameters, depth, looks)?;
    match expression.kind() {
        AExprKind::AexprOp => binary(name, &left, &fold(expression.rexpr.as_ref()?, parameters, depth, looks)?),
        AExprKind::AexprDistinct => Some(Value::Bool(left != fold(expression.rexpr.as_ref()?, parameters, depth, looks)?)),
        AExprKind::AexprNotDistinct => Some(Value::Bool(left == fold(expression.rexpr.as_ref()?, parameters, depth, looks)?)),
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
            (Value::Text(_), Value::Text(pattern)) if matches_everything(&pattern) => Some(Value::Bool(true)),
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

fn binary(name: &str, left: &Value, right: &Value) -> Option<Value> {
    if matches!((left, right), (Value::Null, _) | (_, Value::Null)) {
        return Some(Value::Null);
    }
    if let Some(order) = compare(left, right) {
        let truth = match name {
            "=" => order.is_eq(),
            "<>" | "!=" => order.is_ne(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            _ => return arithmetic(name, left, right),
        };
        // How unequal strings sort depends on the collation.
        let sorted_texts = matches!((left, right), (Value::Text(_), Value::Text(_))) && order.is_ne() && !matches!(name, "=" | "<>" | "!=");
        return (!sorted_texts).then_some(Value::Bool(truth));
    }
    arithmetic(name, left, right)
}

/// How two values compare, if they can be.
pub(super) fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Number(b)) => a.trim().parse::<f64>().ok()?.partial_cmp(b),
        (Value::Number(a), Value::Text(b)) => a.partial_cmp(&b.trim().parse().ok()?),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Text(b)) => Some(a.cmp(&boolean(b)?)),
        (Value::Text(a), Value::Bool(b)) => Some(boolean(a)?.cmp(b)),
        _ => None,
    }
}

fn arithmetic(name: &str, left: &Value, right: &Value) -> Option<Value> {
    match (name, left, right) {
        ("||", Value::Text(a), Value::Text(b)) => Some(Value::Text(format!("{a}{b}"))),
        ("+", Value::Number(a), Value::Number(b)) => Some(Value::Number(a + b)),
        ("-", Value::Number(a), Value::Number(b)) => Some(Value::Number(a - b)),
        ("*", Value::Number(a), Value::Number(b)) => Some(Value::Number(a * b)),
        _ => None,
    }
}
