//! Expressions that are the same for every row and can be told without the server.

use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, BoolExprType, BoolTestType, Node, NullTestType, SubLinkType, a_const::Val},
};

use super::{
    analysis::{Parameters, boxed, inner, strings},
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
    fold(node, parameters, MAX_DEPTH)
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

fn fold(node: &Node, parameters: &Parameters, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    match inner(node)? {
        NodeEnum::AConst(constant) => Some(match &constant.val {
            None => Value::Null,
            Some(Val::Ival(number)) => Value::Number(f64::from(number.ival)),
            Some(Val::Fval(number)) => Value::Number(number.fval.parse().ok()?),
            Some(Val::Boolval(truth)) => Value::Bool(truth.boolval),
            Some(Val::Sval(text)) => Value::Text(text.sval.clone()),
            Some(Val::Bsval(bits)) => Value::Text(bits.bsval.clone()),
        }),
        NodeEnum::ParamRef(parameter) => match parameters {
            Parameters::Known(values) => {
                let at = usize::try_from(parameter.number).ok()?.checked_sub(1)?;
                values.get(at).map(|value| value.clone().map_or(Value::Null, Value::Text))
            }
            Parameters::Later | Parameters::Never => None,
        },
        NodeEnum::TypeCast(cast) => {
            let names = cast.type_name.as_ref().map(|name| strings(&name.names)).unwrap_or_default();
            converted(fold(cast.arg.as_ref()?, parameters, depth)?, names.last().copied().unwrap_or_default())
        }
        NodeEnum::CollateClause(clause) => fold(clause.arg.as_ref()?, parameters, depth),
        NodeEnum::BoolExpr(expression) => {
            let values: Vec<Option<Value>> = expression.args.iter().map(|node| fold(node, parameters, depth)).collect();
            logic(expression.boolop(), &values)
        }
        NodeEnum::NullTest(test) => {
            let null = fold(test.arg.as_ref()?, parameters, depth)? == Value::Null;
            Some(Value::Bool(null == (test.nulltesttype() == NullTestType::IsNull)))
        }
        NodeEnum::BooleanTest(test) => Some(Value::Bool(boolean_test(test.booltesttype(), truth(&fold(test.arg.as_ref()?, parameters, depth)?)?))),
        NodeEnum::AExpr(expression) => operation(expression, parameters, depth),
        NodeEnum::CoalesceExpr(coalesce) => {
            for node in &coalesce.args {
                match fold(node, parameters, depth)? {
                    Value::Null => {}
                    value => return Some(value),
                }
            }
            Some(Value::Null)
        }
        NodeEnum::SubLink(link) if link.sub_link_type() == SubLinkType::ExprSublink => match boxed(link.subselect.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) if select.from_clause.is_empty() && select.where_clause.is_none() && select.larg.is_none() => {
                match select.target_list.first().and_then(inner) {
                    Some(NodeEnum::ResTarget(target)) => fold(target.val.as_ref()?, parameters, depth),
                    _ => None,
                }
            }
            _ => None,
        },
        NodeEnum::FuncCall(call) => {
            let [argument] = call.args.as_slice() else { return None };
            let Value::Text(text) = fold(argument, parameters, depth)? else { return None };
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
        (Value::Text(text), "int2" | "int4" | "int8" | "numeric" | "float4" | "float8") => Value::Number(text.trim().parse().ok()?),
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

fn operation(expression: &AExpr, parameters: &Parameters, depth: usize) -> Option<Value> {
    let (schema, name) = qualified(&expression.name);
    if !matches!(schema, "" | "pg_catalog") {
        return None;
    }
    let left = fold(expression.lexpr.as_ref()?, parameters, depth)?;
    match expression.kind() {
        AExprKind::AexprOp => binary(name, &left, &fold(expression.rexpr.as_ref()?, parameters, depth)?),
        AExprKind::AexprDistinct => Some(Value::Bool(left != fold(expression.rexpr.as_ref()?, parameters, depth)?)),
        AExprKind::AexprNotDistinct => Some(Value::Bool(left == fold(expression.rexpr.as_ref()?, parameters, depth)?)),
        AExprKind::AexprIn => {
            let Some(NodeEnum::List(list)) = boxed(expression.rexpr.as_ref()) else { return None };
            let tests: Vec<Option<Value>> = list.items.iter().map(|item| binary(name, &left, &fold(item, parameters, depth)?)).collect();
            logic(if name == "=" { BoolExprType::OrExpr } else { BoolExprType::AndExpr }, &tests)
        }
        AExprKind::AexprBetween => {
            let Some(NodeEnum::List(list)) = boxed(expression.rexpr.as_ref()) else { return None };
            let [low, high] = list.items.as_slice() else { return None };
            let low = binary(">=", &left, &fold(low, parameters, depth)?);
            let high = binary("<=", &left, &fold(high, parameters, depth)?);
            logic(BoolExprType::AndExpr, &[low, high])
        }
        AExprKind::AexprLike if name == "~~" => match (left, fold(expression.rexpr.as_ref()?, parameters, depth)?) {
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
