//! What stands on one side of a comparison: something of the target's row, the same for each row, or something of another source.

use pg_query::{
    NodeEnum,
    protobuf::{AExpr, AExprKind, Node, SelectStmt, SubLink, SubLinkType, TypeCast},
};

use super::{
    super::{
        analysis::{Analysis, Known, boxed, inner, strings},
        catalog::RelationKind,
        constants::{self, Constant, Value},
        names::qualified,
        types,
    },
    Target,
    values::{CTID, Form, Kind, Own, Span, number},
};

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A column of the target, or something made of it.
    Own(Own),
    /// Something that is the same for every row of the target; its value, if known.
    Fixed(Option<Constant>),
    /// The same, made of what is written in the statement alone by something that is not followed here.
    Computed,
    /// Something of another source; `same` if that may hold the very same rows.
    Other { same: bool },
    /// A single value made of all the target's rows, or of many.
    OfAll,
    /// A parameter whose value will be judged when it comes.
    Later,
    /// Not known.
    Unclear,
}

impl Operand {
    /// One of the texts that an array is written of.
    pub(super) fn of_text(text: &str) -> Self {
        let value = if text.eq_ignore_ascii_case("null") { Value::Null } else { Value::Spelled(text.to_owned()) };
        Self::Fixed(Some(Constant::known(value)))
    }

    /// Something that is made of it in this way.
    fn made(self, form: Form) -> Self {
        match self {
            Self::Own(own) => Self::Own(own.made(form)),
            Self::Fixed(Some(_)) => Self::Computed,
            other => other,
        }
    }
}

impl Analysis<'_> {
    pub(super) fn operand(&self, node: &Node, target: &Target<'_>, depth: usize) -> Operand {
        let Some(depth) = depth.checked_sub(1) else { return Operand::Unclear };
        if let Some(constant) = constants::constant(node, &self.parameters) {
            return Operand::Fixed(Some(constant));
        }
        match inner(node) {
            Some(NodeEnum::ColumnRef(column)) => self.column_operand(&strings(&column.fields), target),
            Some(NodeEnum::ParamRef(_)) => match self.parameters.known {
                Known::Later => Operand::Later,
                _ => Operand::Fixed(None),
            },
            Some(NodeEnum::TypeCast(cast)) => self.cast_operand(cast, target, depth),
            Some(NodeEnum::CollateClause(clause)) => clause.arg.as_ref().map_or(Operand::Unclear, |node| self.operand(node, target, depth)),
            Some(NodeEnum::FuncCall(call)) => self.call_operand(qualified(&call.funcname), &call.args, target, depth),
            Some(NodeEnum::SqlvalueFunction(_)) => Operand::Fixed(None),
            Some(NodeEnum::AExpr(expression)) if expression.kind() == AExprKind::AexprOp => self.arithmetic(expression, target, depth),
            Some(NodeEnum::CoalesceExpr(coalesce)) => self.coalesced(&coalesce.args, target, depth),
            // A list of constants is not empty.
            Some(NodeEnum::AArrayExpr(array)) if array.elements.is_empty() => Operand::Computed,
            Some(NodeEnum::AArrayExpr(array)) => self.written_out(&array.elements, target, depth),
            Some(NodeEnum::RowExpr(row)) => self.written_out(&row.args, target, depth),
            Some(NodeEnum::AIndirection(indirection)) => {
                indirection.arg.as_ref().map_or(Operand::Unclear, |node| part_of(self.operand(node, target, depth)))
            }
            Some(NodeEnum::SubLink(link)) => self.query_operand(link, target, depth),
            _ => Operand::Unclear,
        }
    }

    /// A single value, or an array, that a query gives.
    fn query_operand(&self, link: &SubLink, target: &Target<'_>, depth: usize) -> Operand {
        let Some(NodeEnum::SelectStmt(select)) = boxed(link.subselect.as_ref()) else { return Operand::Unclear };
        if self.looks_back(select, target) {
            return Operand::Unclear;
        }
        match (link.sub_link_type(), self.may_be_all(select, target, depth)) {
            (SubLinkType::ExprSublink, true) => Operand::OfAll,
            (SubLinkType::ExprSublink, false) => self.shown_value(select),
            (SubLinkType::ArraySublink, false) => Operand::Fixed(None),
            _ => Operand::Unclear,
        }
    }

    /// Of a query that reads another table: a value of it, or what the statement says itself.
    fn shown_value(&self, select: &SelectStmt) -> Operand {
        let Some(NodeEnum::ResTarget(shown)) = select.target_list.first().and_then(inner) else { return Operand::Computed };
        let Some(value) = shown.val.as_deref() else { return Operand::Computed };
        if let Some(constant) = constants::constant(value, &self.parameters) {
            return Operand::Fixed(Some(constant));
        }
        let column = |node: &Node| matches!(inner(node), Some(NodeEnum::ColumnRef(_)));
        match inner(value) {
            Some(NodeEnum::ColumnRef(_)) => Operand::Fixed(None),
            Some(NodeEnum::FuncCall(call)) if matches!(qualified(&call.funcname).1, "max" | "min" | "avg") && call.args.iter().all(column) => {
                Operand::Fixed(None)
            }
            _ => Operand::Computed,
        }
    }

    fn column_operand(&self, parts: &[&str], target: &Target<'_>) -> Operand {
        let same = |alias: Option<&str>| target.others.iter().filter(|other| alias.is_none_or(|alias| other.alias == alias)).any(|other| other.same);
        let hidden = target.hidden.as_ref();
        match parts {
            [name] if hidden.is_some_and(|names| names.columns.contains(*name)) => Operand::Other { same: same(None) },
            [name] if hidden.is_some_and(|names| names.open) && target.has(name) => Operand::Unclear,
            [.., alias, _] if hidden.is_some_and(|names| names.aliases.contains(*alias)) => Operand::Other { same: same(Some(alias)) },
            [name] => match self.own(name, target) {
                Some(own) => Operand::Own(own),
                None if target.others.is_empty() || *name == target.alias => Operand::Unclear,
                None => Operand::Other { same: same(None) },
            },
            [.., alias, name] if *alias == target.alias => self.own(name, target).map_or(Operand::Unclear, Operand::Own),
            [.., alias, _] if target.others.iter().any(|other| other.alias == *alias) => Operand::Other { same: same(Some(alias)) },
            _ => Operand::Unclear,
        }
    }

    /// The target's column of a name.
    fn own(&self, name: &str, target: &Target<'_>) -> Option<Own> {
        let own =
            Own { column: CTID, form: Form::Itself, kind: Kind::Other, span: None, few: None, key: false, not_null: Some(true), generated: false };
        if name == "ctid" {
            return Some(own);
        }
        let (relation, column) = (target.relation?, target.column(name)?);
        let key = relation.keys.iter().any(|key| **key == [column.number]);
        let (kind, few) = self.kind_of(column.type_oid);
        let span = Span::of_type(self.catalog.base_type(column.type_oid), key);
        // What a view says of a column that is not a table's says nothing of NULL.
        let not_null = Some(column.not_null).filter(|not_null| *not_null || relation.kind != RelationKind::View);
        Some(Own { column: column.number, kind, span, few, key, not_null, generated: relation.is_generated(column.number), ..own })
    }

    /// Of which kind a type's values are, and how many there are if they are few.
    fn kind_of(&self, oid: u32) -> (Kind, Option<u32>) {
        let base = self.catalog.base_type(oid);
        let labels = self.catalog.type_by_oid(base).map_or(0, |kind| kind.labels);
        let kind = match base {
            types::BOOL => return (Kind::Truth, Some(2)),
            _ if labels > 0 => return (Kind::Choice, Some(labels)),
            21 | 26 | types::INT4 | types::INT8 | types::NUMERIC | 700 | 701 => Kind::Number,
            base if types::is_text(base) => Kind::Text,
            base if types::is_moment(base) => Kind::Moment { hours: types::is_time(base) },
            _ => Kind::Other,
        };
        (kind, None)
    }

    fn cast_operand(&self, cast: &TypeCast, target: &Target<'_>, depth: usize) -> Operand {
        let Some(node) = &cast.arg else { return Operand::Unclear };
        let names = cast.type_name.as_ref().map(|name| strings(&name.names)).unwrap_or_default();
        let cut = cast.type_name.as_ref().is_some_and(|name| !name.typmods.is_empty());
        match self.operand(node, target, depth) {
            Operand::Own(own) if cut && own.has_fixed_parts() => Operand::Unclear,
            Operand::Own(own) => {
                let to = names.last().copied().unwrap_or_default();
                let (kind, form) = match (to, own.kind) {
                    ("text" | "varchar" | "bpchar" | "name", Kind::Moment { .. }) => (Kind::Text, Form::Stamp),
                    ("text" | "varchar" | "bpchar" | "name", _) => (Kind::Text, Form::Varied),
                    ("int2" | "int4" | "int8" | "numeric" | "float4" | "float8", _) => (Kind::Number, Form::Varied),
                    ("date", _) => (Kind::Moment { hours: false }, Form::Varied),
                    ("timestamp" | "timestamptz", _) => (Kind::Moment { hours: true }, Form::Varied),
                    // A number is true unless it is 0.
                    ("bool", Kind::Number) => return Operand::Unclear,
                    ("bool", _) => (Kind::Truth, Form::Varied),
                    _ => (Kind::Other, Form::Varied),
                };
                // What is cut to a length or rounded may be the same for each row.
                if cut && kind != (Kind::Moment { hours: true }) {
                    Operand::Own(Own { kind, ..own.made(Form::Cut(0)) })
                } else {
                    Operand::Own(Own { kind, ..own.made(form) })
                }
            }
            other => other.made(Form::Varied),
        }
    }

    /// An array or row: what is fixed in it is there beside what is not.
    fn written_out(&self, nodes: &[Node], target: &Target<'_>, depth: usize) -> Operand {
        match self.combined(nodes, target, depth) {
            Operand::Own(own) => Operand::Own(Own { kind: Kind::Other, ..own.made(Form::Joined) }),
            Operand::Computed => Operand::Fixed(None),
            other => other,
        }
    }

    /// A column, or something else where it is NULL.
    fn coalesced(&self, nodes: &[Node], target: &Target<'_>, depth: usize) -> Operand {
        match nodes.first().map(|node| self.operand(node, target, depth)) {
            // Behind something that is never NULL, the column is never met.
            Some(Operand::Own(_)) => match self.combined(nodes, target, depth) {
                Operand::Own(own) => Operand::Own(Own { few: None, ..own.made(Form::Varied) }),
                other => other,
            },
            Some(Operand::Fixed(Some(_)) | Operand::Computed | Operand::Unclear) | None => Operand::Unclear,
            _ => match self.combined(nodes, target, depth) {
                Operand::Own(_) => Operand::Unclear,
                other => other,
            },
        }
    }

    /// Several values together: a column of the target among fixed ones makes it depend on the row, two do too.
    fn combined(&self, nodes: &[Node], target: &Target<'_>, depth: usize) -> Operand {
        let mut result = Operand::Computed;
        for node in nodes {
            result = match (result, self.operand(node, target, depth)) {
                (_, Operand::Unclear) | (Operand::Unclear, _) => Operand::Unclear,
                (Operand::Computed, Operand::Fixed(Some(_))) => Operand::Computed,
                (Operand::Computed, other) => other.made(Form::Varied),
                (Operand::Fixed(_), Operand::Fixed(_) | Operand::Computed) => Operand::Fixed(None),
                (Operand::Fixed(_), other) => other.made(Form::Varied),
                (result, Operand::Fixed(_) | Operand::Computed) => result,
                (Operand::Own(one), Operand::Own(_)) => Operand::Own(Own { column: 0, span: None, few: None, ..one.made(Form::Varied) }),
                (Operand::Later, Operand::Later) => Operand::Later,
                (Operand::Own(own), Operand::Later) | (Operand::Later, Operand::Own(own)) => Operand::Own(own.made(Form::Varied)),
                (Operand::Other { same }, Operand::Other { same: too }) => Operand::Other { same: same || too },
                _ => Operand::Unclear,
            };
        }
        result
    }

    fn call_operand(&self, (schema, name): (&str, &str), arguments: &[Node], target: &Target<'_>, depth: usize) -> Operand {
        let routines = self.routines(schema, name, arguments.len());
        if routines.is_empty() || routines.iter().any(|routine| !routine.built_in() || routine.volatility == 'v' || routine.returns_set) {
            return Operand::Unclear;
        }
        match self.combined(arguments, target, depth) {
            Operand::Own(own) => self.called(name, arguments, own, target, depth).map_or(Operand::Unclear, Operand::Own),
            Operand::Computed if self.gives_something(name, arguments) => Operand::Fixed(None),
            other => other,
        }
    }

    /// What a function makes of a column; none if it may be the same for each row.
    fn called(&self, name: &str, arguments: &[Node], own: Own, target: &Target<'_>, depth: usize) -> Option<Own> {
        let constant = |at: usize| arguments.get(at).and_then(|node| constants::value(node, &self.parameters));
        let numeral = |at: usize| constant(at).as_ref().and_then(number);
        let word = |at: usize| constant(at).and_then(|value| value.written().map(str::to_ascii_lowercase));
        let is_own = |at: usize| arguments.get(at).is_some_and(|node| matches!(self.operand(node, target, depth), Operand::Own(_)));
        let text = |form: Form| Own { kind: Kind::Text, span: None, few: None, ..own.made(form) };
        let count = |least: f64, greatest: f64, few: Option<u32>| Own {
            kind: Kind::Number,
            span: Some(Span { least, greatest, whole: true }),
            few,
            ..own.made(Form::Varied)
        };
        // A part of what was put together may be what is the same for each row.
        if own.has_fixed_parts() && !matches!(name, "lower" | "upper" | "md5" | "concat" | "concat_ws") {
            return None;
        }
        Some(match name {
            "length" | "char_length" | "character_length" | "octet_length" | "bit_length"
                if !matches!(own.form, Form::Joined | Form::Digest | Form::Cut(_)) =>
            {
                count(Span::LENGTHS.least, Span::LENGTHS.greatest, None)
            }
            "cardinality" | "array_length" | "jsonb_array_length" | "json_array_length" if own.form != Form::Joined => {
                count(Span::LENGTHS.least, Span::LENGTHS.greatest, None)
            }
            "lower" => text(Form::Lower),
            "upper" => text(Form::Upper),
            "btrim" | "ltrim" | "rtrim" if arguments.len() > 1 => text(Form::Stripped),
            "btrim" | "ltrim" | "rtrim" | "initcap" | "reverse" => text(Form::Varied),
            "concat" | "concat_ws" => text(Form::Joined),
            "md5" => text(Form::Digest),
            "hashtext" => Own { kind: Kind::Number, span: None, few: None, key: true, ..own.made(Form::Varied) },
            // What cuts off everything gives the same for each row.
            "left" | "right" | "substr" | "substring" => {
                let most = numeral(arguments.len().checked_sub(1).filter(|last| *last > 0)?)?;
                let begins = arguments.len() < 3 || numeral(1).is_some_and(|place| place > 0.0);
                if most <= 0.0 || !begins {
                    return None;
                }
                match as_length(most) {
                    _ if arguments.len() == 2 && name.starts_with("sub") => text(Form::Stripped),
                    // Letters.
                    1 => Own { few: Some(26), ..text(Form::Cut(1)) },
                    most => text(Form::Cut(most)),
                }
            }
            "split_part" => text(Form::Stripped),
            "replace" | "translate" if is_own(0) && !is_own(1) && !is_own(2) => text(Form::Stripped),
            "abs" => {
                let least = if own.key { 1.0 } else { 0.0 };
                let greatest = own.span.map_or(Span::ANY.greatest, |span| span.greatest.max(-span.least));
                Own { span: Some(Span { least, greatest, whole: own.span.is_some_and(|span| span.whole) }), ..own.made(Form::Varied) }
            }
            "mod" => remainder(own, numeral(1)?)?,
            "sign" => count(1.0, 1.0, Some(2)),
            "round" | "floor" | "ceil" | "ceiling" | "trunc" if arguments.len() == 1 || numeral(1).is_some_and(|places| places >= 0.0) => {
                Own { few: None, ..own.made(Form::Varied) }
            }
            "date" => Own { kind: Kind::Moment { hours: false }, ..own.made(Form::Varied) },
            "timezone" | "to_timestamp" => Own { kind: Kind::Moment { hours: true }, ..own.made(Form::Varied) },
            "to_date" => Own { kind: Kind::Moment { hours: false }, ..own.made(Form::Varied) },
            "date_trunc" if !is_coarse(&word(0)?) => Own { kind: Kind::Moment { hours: true }, ..own.made(Form::Varied) },
            "date_part" | "extract" => {
                let (least, greatest, few) = units(&word(0)?)?;
                count(least, greatest, few)
            }
            "to_char" if word(1).is_some_and(|format| (format.contains("yy") || format.contains("dd")) && !format.contains('"')) => text(Form::Stamp),
            "age" => Own { kind: Kind::Other, ..own.made(Form::Age) },
            "jsonb_extract_path_text" | "json_extract_path_text" => text(Form::Varied),
            _ => return None,
        })
    }

    /// Whether a call of constants gives something that not everything contains, or meets.
    fn gives_something(&self, name: &str, arguments: &[Node]) -> bool {
        let texts: Vec<Option<String>> = arguments.iter().map(|node| constants::text(node, &self.parameters)).collect();
        let bound = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty() && !text.to_ascii_lowercase().contains("inf"));
        match name {
            "jsonb_build_object" | "json_build_object" => arguments.len() > 1,
            "jsonb_build_array" | "json_build_array" => !arguments.is_empty(),
            "plainto_tsquery" | "phraseto_tsquery" => texts.last().is_some_and(bound),
            "to_tsquery" => texts.last().is_some_and(|text| bound(text) && !text.as_ref().is_some_and(|text| text.contains('!'))),
            "websearch_to_tsquery" => texts.last().is_some_and(|text| bound(text) && !text.as_ref().is_some_and(|text| text.contains('-'))),
            "int4range" | "int8range" | "numrange" | "tsrange" | "tstzrange" | "daterange" => texts.len() > 1 && texts.iter().take(2).all(bound),
            _ => false,
        }
    }

    fn arithmetic(&self, expression: &AExpr, target: &Target<'_>, depth: usize) -> Operand {
        let name = qualified(&expression.name).1;
        let Some(right) = expression.rexpr.as_ref().map(|node| self.operand(node, target, depth)) else { return Operand::Unclear };
        let Some(left) = expression.lexpr.as_ref().map(|node| self.operand(node, target, depth)) else {
            return match (name, right) {
                ("-", Operand::Own(own)) => {
                    Operand::Own(Own { span: own.span.and_then(|span| span.after("*", -1.0)), few: None, ..own.made(Form::Varied) })
                }
                (_, Operand::Own(_)) => Operand::Unclear,
                (_, other) => other.made(Form::Varied),
            };
        };
        match (left, right) {
            (Operand::Fixed(None), Operand::Fixed(_) | Operand::Computed) | (Operand::Fixed(_) | Operand::Computed, Operand::Fixed(None)) => {
                Operand::Fixed(None)
            }
            (Operand::Fixed(_) | Operand::Computed, Operand::Fixed(_) | Operand::Computed) => Operand::Computed,
            (Operand::Later, Operand::Fixed(_) | Operand::Computed | Operand::Later) | (Operand::Fixed(_) | Operand::Computed, Operand::Later) => {
                Operand::Later
            }
            (Operand::Other { same }, Operand::Fixed(_) | Operand::Computed) | (Operand::Fixed(_) | Operand::Computed, Operand::Other { same }) => {
                Operand::Other { same }
            }
            (Operand::Own(own), Operand::Fixed(value)) => with_constant(own, name, value.as_ref(), true),
            (Operand::Fixed(value), Operand::Own(own)) => with_constant(own, name, value.as_ref(), false),
            (Operand::Own(own), Operand::Computed | Operand::Later) | (Operand::Computed | Operand::Later, Operand::Own(own)) => {
                with_constant(own, name, None, true)
            }
            _ => Operand::Unclear,
        }
    }
}

/// A column and something fixed on either side of an operator; `first` if the column stands before it.
fn with_constant(own: Own, name: &str, value: Option<&Constant>, first: bool) -> Operand {
    let numeral = || value.and_then(|constant| number(constant.value()));
    if own.has_fixed_parts() && name != "||" {
        return Operand::Unclear;
    }
    let moment = matches!(own.kind, Kind::Moment { .. });
    let made = match (name, first) {
        ("->>" | "#>>", true) => Some(Own { kind: Kind::Text, span: None, few: None, ..own.made(Form::Varied) }),
        ("->" | "#>", true) => Some(Own { kind: Kind::Other, span: None, few: None, ..own.made(Form::Varied) }),
        ("||", _) => Some(Own { few: None, ..own.made(Form::Joined) }),
        ("+" | "-", _) if moment || own.kind == Kind::Other => Some(own.made(Form::Varied)),
        ("+", _) | ("-", true) => Some(Own { span: numeral().and_then(|number| own.span?.after(name, number)), few: None, ..own.made(Form::Varied) }),
        ("-", false) => Some(Own { span: None, few: None, ..own.made(Form::Varied) }),
        ("*", _) => numeral().filter(|number| number.abs() > 1.0).map(|number| Own {
            span: own.span.and_then(|span| span.after(name, number)),
            few: None,
            ..own.made(Form::Varied)
        }),
        ("%", true) => numeral().and_then(|number| remainder(own, number)),
        _ => None,
    };
    made.map_or(Operand::Unclear, Operand::Own)
}

/// What is left of a division. With nothing else than 0 left, it is the same for each row.
fn remainder(own: Own, divisor: f64) -> Option<Own> {
    let divisor = divisor.abs();
    let few = (divisor > 1.0 && divisor.fract() == 0.0).then(|| as_length(divisor))?;
    Some(Own {
        kind: Kind::Number,
        span: Some(Span::up_to(divisor - 1.0)),
        few: u32::try_from(few).ok().filter(|few| *few <= 1_000),
        ..own.made(Form::Varied)
    })
}

/// An element or field. Of what was put together, it may be what is the same for each row.
fn part_of(operand: Operand) -> Operand {
    match operand {
        Operand::Own(own) if own.has_fixed_parts() => Operand::Unclear,
        Operand::Own(own) => Operand::Own(Own { kind: Kind::Other, span: None, few: None, ..own.made(Form::Varied) }),
        other => other.made(Form::Varied),
    }
}

/// Lengths beyond a million are none.
fn as_length(number: f64) -> usize {
    let digits = format!("{:.0}", number.clamp(0.0, 1_000_000.0));
    digits.parse().unwrap_or(usize::MAX)
}

/// Units of which all moments of a lifetime are in one or a few.
fn is_coarse(unit: &str) -> bool {
    matches!(unit, "decade" | "decades" | "century" | "centuries" | "c" | "cent" | "millennium" | "millennia" | "mil" | "mils" | "dec" | "decs")
}

/// Between what the parts of moments lie, and how many there are of them.
fn units(unit: &str) -> Option<(f64, f64, Option<u32>)> {
    Some(match unit {
        "year" | "years" | "isoyear" => (1_970.0, 2_099.0, None),
        "month" | "months" => (1.0, 12.0, Some(12)),
        "quarter" => (1.0, 4.0, Some(4)),
        "week" | "weeks" => (1.0, 53.0, Some(52)),
        "day" | "days" => (1.0, 31.0, Some(31)),
        "doy" => (1.0, 366.0, Some(365)),
        "dow" => (0.0, 6.0, Some(7)),
        "isodow" => (1.0, 7.0, Some(7)),
        "hour" | "hours" => (0.0, 23.0, Some(24)),
        "minute" | "minutes" | "second" | "seconds" => (0.0, 59.0, Some(60)),
        "epoch" => (0.0, 4_102_444_800.0, None),
        _ => return None,
    })
}
