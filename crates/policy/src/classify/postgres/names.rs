//! What a name means: through the search path, as the server looks it up.

use std::sync::Arc;

use pg_query::protobuf::{Node, RangeVar, TypeName};

use super::{
    analysis::{Analysis, Ty, strings},
    catalog::{Relation, Routine},
    types,
};

impl<'a> Analysis<'a> {
    /// The relation a FROM or target clause names. If there is none, that is noted: missing, or unreadable if an earlier statement may have made it.
    pub(super) fn relation(&mut self, range: &RangeVar) -> Option<&'a Relation> {
        if !range.catalogname.is_empty() && range.catalogname != *self.view.database {
            let name = format!("{}.{}.{}", range.catalogname, range.schemaname, range.relname);
            self.found.missing("0A000", format!("cross-database references are not implemented: \"{name}\""));
            return None;
        }
        let name = range.relname.as_str();
        if self.touched.contains(name) {
            self.found.doubt("it uses an object that an earlier statement of the same message makes or changes");
            return None;
        }
        if self.unsettled {
            self.found.doubt("an earlier statement of the same message may have changed what its names mean");
        }
        let relation = self.find_relation(&range.schemaname, name);
        if relation.is_none() {
            self.missing_relation(&range.schemaname, name);
        }
        relation
    }

    fn missing_relation(&mut self, schema: &str, name: &str) {
        let shown = if schema.is_empty() { name.to_owned() } else { format!("{schema}.{name}") };
        self.found.missing("42P01", format!("relation \"{shown}\" does not exist"));
    }

    /// Looks a relation up; the schema is empty if none was named.
    pub(super) fn find_relation(&self, schema: &str, name: &str) -> Option<&'a Relation> {
        if !schema.is_empty() {
            return self.catalog.relation(self.real_schema(schema), name);
        }
        // The temporary schema is searched first for relations, unless the path places it elsewhere.
        let temporary = self.view.temporary_schema.as_ref().filter(|schema| self.temporary_first && !self.path.contains(schema));
        temporary.into_iter().chain(&self.path).find_map(|schema| self.catalog.relation(schema, name))
    }

    /// `pg_temp` is an alias of the session's own temporary schema.
    pub(super) fn real_schema<'s>(&'s self, schema: &'s str) -> &'s str {
        match (schema, &self.view.temporary_schema) {
            ("pg_temp", Some(own)) => own,
            _ => schema,
        }
    }

    /// The schema in which an object without one is made.
    pub(super) fn creation_schema(&self, range: &RangeVar) -> Arc<str> {
        if !range.schemaname.is_empty() {
            return Arc::from(self.real_schema(&range.schemaname));
        }
        if range.relpersistence == "t" {
            return self.view.temporary_schema.clone().unwrap_or_else(|| Arc::from("pg_temp"));
        }
        self.creation_schema_of_path()
    }

    /// The first schema of the path that objects are made in.
    pub(super) fn creation_schema_of_path(&self) -> Arc<str> {
        let usable = |schema: &&Arc<str>| &***schema != "pg_catalog" && !schema.starts_with("pg_temp_");
        self.path.iter().find(usable).cloned().unwrap_or_else(|| Arc::from("public"))
    }

    /// Every routine a call by this name can mean, as far as names and counts tell.
    pub(super) fn routines(&self, schema: &str, name: &str, count: usize) -> Vec<&'a Routine> {
        self.catalog.routines_named(name).filter(|routine| routine.takes(count) && self.sees(schema, &routine.schema)).collect()
    }

    /// Whether an object of `there` is meant by a name with this schema (empty if none was named). Functions and operators of the temporary schema need it named.
    pub(super) fn sees(&self, schema: &str, there: &str) -> bool {
        if schema.is_empty() {
            return !there.starts_with("pg_temp_") && self.path.iter().any(|searched| &**searched == there);
        }
        self.real_schema(schema) == there
    }

    /// The type a type name means.
    pub(super) fn type_of(&mut self, name: &TypeName) -> Ty {
        let parts = strings(&name.names);
        let (schema, name_only) = match parts.as_slice() {
            [name] => ("", *name),
            [.., schema, name] => (*schema, *name),
            [] => return None,
        };
        if self.touched.contains(name_only) {
            self.found.doubt("it uses a type that an earlier statement of the same message makes or changes");
        }
        if name.pct_type {
            return None;
        }
        let element = self.find_type(schema, name_only)?;
        if name.array_bounds.is_empty() { Some(element) } else { self.array_of(element) }
    }

    /// The type of an array's elements by the array's name: arrays of rows have no type of their own here.
    pub(super) fn element_of(&mut self, name: &TypeName) -> Ty {
        self.type_of(&TypeName { array_bounds: Vec::new(), ..name.clone() })
    }

    /// Looks a type up by name; the schema is empty if none was named.
    pub(super) fn find_type(&self, schema: &str, name: &str) -> Ty {
        let mut best: Option<(usize, u32)> = None;
        for kind in self.catalog.types_named(name) {
            let place = match schema {
                "" if self.temporary_first && self.view.temporary_schema.as_deref() == Some(&*kind.schema) => Some(0),
                "" => self.path.iter().position(|searched| *searched == kind.schema).map(|at| at + 1),
                _ => (self.real_schema(schema) == &*kind.schema).then_some(0),
            };
            if let Some(place) = place
                && best.is_none_or(|(least, _)| place < least)
            {
                best = Some((place, kind.oid));
            }
        }
        best.map(|(_, oid)| oid).or_else(|| self.find_relation(schema, name).map(|relation| relation.row_type).filter(|oid| *oid != 0))
    }

    pub(super) fn array_of(&self, element: u32) -> Ty {
        let name = self.catalog.type_by_oid(element).map(|kind| format!("_{}", kind.name))?;
        self.catalog.types_named(&name).find(|kind| kind.element == element).map(|kind| kind.oid)
    }

    /// A type's name as errors show it.
    pub(super) fn type_name(&self, ty: Ty) -> String {
        let Some(oid) = ty else { return "unknown".to_owned() };
        types::sql_name(oid)
            .map_or_else(|| self.catalog.type_by_oid(oid).map_or_else(|| "record".to_owned(), |kind| kind.name.to_string()), str::to_owned)
    }
}

/// Schema (empty if none is named) and name of a qualified name.
pub(super) fn qualified(nodes: &[Node]) -> (&str, &str) {
    match strings(nodes).as_slice() {
        [name] => ("", name),
        [.., schema, name] => (schema, name),
        [] => ("", ""),
    }
}

/// Splits the text of a `regclass` constant: `a.b`, `"A"."b c"`.
pub(super) fn split_identifier(text: &str) -> Option<(String, String)> {
    let mut parts: Vec<String> = vec![];
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            part = quoted.get(..end)?.to_owned();
            rest = quoted.get(end + 1..)?;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest.get(..end)?.trim().to_ascii_lowercase();
            rest = rest.get(end..)?;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    match parts.as_slice() {
        [name] => Some((String::new(), name.clone())),
        [schema, name] => Some((schema.clone(), name.clone())),
        _ => None,
    }
}
