//! Which groups of a provider count, and as which of ours.

use std::collections::BTreeSet;

use model::GroupName;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{OidcError, Provider, Settings};

/// Most groups of one person that count.
const MAX_GROUPS: usize = 1_000;
/// Most pages of groups that are read of Microsoft's Graph.
const MAX_PAGES: usize = 20;
/// Ids of all groups somebody is in, those within groups too:
/// <https://learn.microsoft.com/en-us/graph/api/user-list-transitivememberof>
const GRAPH: &str = "https://graph.microsoft.com/v1.0/me/transitiveMemberOf/microsoft.graph.group?$select=id&$top=999";

impl Settings {
    /// The groups in a claim. One whose name cannot be ours and is not in the table is nobody's: no policy could speak of it.
    pub(super) fn groups_of(&self, claim: Option<&Value>) -> Result<Vec<GroupName>, String> {
        let names: Vec<&str> = match claim {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        };
        self.counted(names.into_iter())
    }

    fn counted<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<GroupName>, String> {
        let ours = |name: &str| match &self.groups {
            Some(table) => table.get(name).cloned(),
            // Keycloak writes paths.
            None => name.strip_prefix('/').unwrap_or(name).parse().ok(),
        };
        let groups: BTreeSet<GroupName> = names.filter_map(ours).collect();
        if groups.len() > MAX_GROUPS {
            return Err(format!(
                "with {} groups you are in more than the {MAX_GROUPS} that count: an administrator names those that matter in `groups`",
                groups.len()
            ));
        }
        Ok(groups.into_iter().collect())
    }
}

impl Provider {
    /// Groups that were too many for the token.
    pub(super) async fn groups_of_graph(&self, access_token: Option<&str>) -> Result<Result<Vec<GroupName>, String>, OidcError> {
        #[derive(Deserialize)]
        struct Page {
            value: Vec<Group>,
            #[serde(rename = "@odata.nextLink")]
            next: Option<Url>,
        }
        #[derive(Deserialize)]
        struct Group {
            id: String,
        }
        let token = access_token.ok_or_else(|| self.odd("too many groups for a token, and no access token to ask for them"))?;
        let first = self.settings.graph.clone().map_or_else(|| GRAPH.parse(), Ok);
        let first: Url = first.map_err(|error| self.odd(error.to_string()))?;
        let (mut ids, mut next) = (Vec::new(), Some(first.clone()));
        for _ in 0..MAX_PAGES {
            let Some(url) = next.take() else { return Ok(self.settings.counted(ids.iter().map(String::as_str))) };
            // The token goes to Graph and nowhere a page might lead to.
            if url.origin() != first.origin() {
                return Err(self.odd("groups: the next page is somewhere else"));
            }
            let answer = self.fetcher.get(&url, Some(token)).await.map_err(|error| self.unreachable(error))?;
            if answer.status != 200 {
                return Err(self.odd(format!("groups: status {}; is the permission GroupMember.Read.All granted?", answer.status)));
            }
            let page: Page = serde_json::from_slice(&answer.body).map_err(|error| self.odd(format!("groups: {error}")))?;
            ids.extend(page.value.into_iter().map(|group| group.id));
            next = page.next;
        }
        Err(self.odd("groups: there are too many pages"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(more: &str) -> Settings {
        toml::from_str(&format!("issuer = \"https://idp.example\"\nclient_id = \"us\"\n{more}")).unwrap()
    }

    fn names(settings: &Settings, claim: &Value) -> Vec<String> {
        settings.groups_of(Some(claim)).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn groups_are_named_as_they_are_or_by_the_table_alone() {
        let claim = json!(["/dba", "engineers", "Domain Users", "/a/b", 7, "engineers", "4f6e-uuid"]);
        assert_eq!(names(&settings(""), &claim), ["4f6e-uuid", "dba", "engineers"]);
        let table = settings("[groups]\n\"Domain Users\" = \"everybody\"\n\"4f6e-uuid\" = \"dba\"\n\"/a/b\" = \"dba\"");
        assert_eq!(names(&table, &claim), ["dba", "everybody"]);
        assert_eq!(names(&settings(""), &json!("one")), ["one"]);
        assert_eq!(names(&settings(""), &json!({ "dba": true })), [""; 0]);
        assert_eq!(settings("").groups_of(None), Ok(Vec::new()));
    }

    #[test]
    fn ten_thousand_groups_are_refused_unless_the_table_says_which_count() {
        let claim = json!((0..10_000).map(|number| format!("group-{number}")).collect::<Vec<_>>());
        assert!(settings("").groups_of(Some(&claim)).unwrap_err().contains("10000 groups"));
        assert_eq!(names(&settings("[groups]\ngroup-9999 = \"dba\""), &claim), ["dba"]);
    }
}
