//! The check of a parsed document: how large it is once its fragments are put in, and how often it repeats itself.

use super::GatewayLimits;
use crate::error::GatewayError;
use async_graphql::Name;
use async_graphql::parser::types::{
    ExecutableDocument, FragmentDefinition, OperationDefinition, OperationType, Selection, SelectionSet,
};
use std::collections::HashMap;

/// Checks size and repetition.
///
/// # Errors
/// Names the limit that is passed.
pub(super) fn check(document: &ExecutableDocument, limits: &GatewayLimits) -> Result<(), GatewayError> {
    if document.fragments.len() > limits.fragments_max {
        return Err(too_many("fragments", limits.fragments_max));
    }
    // First the size by arithmetic: putting the fragments in could take for ever.
    let mut sizes = Sizes { document, limits, known: HashMap::new() };
    let mut fields = 0_usize;
    for (_, operation) in document.operations.iter() {
        fields = fields.saturating_add(sizes.of_selections(&operation.node.selection_set.node, 0)?);
    }
    for name in document.fragments.keys() {
        sizes.of_fragment(name, 0)?;
    }
    if fields > limits.fields_max {
        return Err(too_many("fields", limits.fields_max));
    }
    // Then its shape, field by field, which is now bounded.
    document
        .operations
        .iter()
        .try_for_each(|(_, operation)| check_operation(document, &operation.node, limits))
}

/// Kind of the operation that is to be executed.
///
/// # Errors
/// There are several and none is named, or the named one does not exist.
pub(super) fn operation_type(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
) -> Result<OperationType, GatewayError> {
    let mut candidates = document
        .operations
        .iter()
        .filter(|(name, _)| operation_name.is_none_or(|wanted| name.is_some_and(|name| name == wanted)));
    match (candidates.next(), candidates.next()) {
        (Some((_, operation)), None) => Ok(operation.node.ty),
        (None, _) => Err(GatewayError::bad_request("the document has no operation of that name")),
        (Some(_), Some(_)) => {
            Err(GatewayError::bad_request("the document has several operations; name one in `operationName`"))
        }
    }
}

fn too_many(what: &str, limit: usize) -> GatewayError {
    GatewayError::bad_request(format!("the document has more than {limit} {what}; ask for less at once"))
}

/// Number of fields that selections have once fragments are put in, each fragment counted once and remembered.
struct Sizes<'a> {
    document: &'a ExecutableDocument,
    limits: &'a GatewayLimits,
    /// `None` while a fragment is being counted: meeting it again then is a cycle.
    known: HashMap<&'a Name, Option<usize>>,
}

impl<'a> Sizes<'a> {
    fn of_selections(&mut self, selections: &'a SelectionSet, level: usize) -> Result<usize, GatewayError> {
        check_level(level, self.limits)?;
        let mut size = 0_usize;
        for selection in &selections.items {
            let inner = match &selection.node {
                Selection::Field(field) => self.of_selections(&field.node.selection_set.node, level + 1)?,
                Selection::InlineFragment(fragment) => {
                    self.of_selections(&fragment.node.selection_set.node, level + 1)?
                }
                Selection::FragmentSpread(spread) => {
                    self.of_fragment(&spread.node.fragment_name.node, level + 1)?
                }
            };
            size = size.saturating_add(inner).saturating_add(1);
        }
        Ok(size)
    }

    fn of_fragment(&mut self, name: &Name, level: usize) -> Result<usize, GatewayError> {
        // A fragment that does not exist is reported by validation, with its place.
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else { return Ok(0) };
        match self.known.get(name) {
            Some(Some(size)) => Ok(*size),
            Some(None) => Err(GatewayError::bad_request(format!(
                "the fragment `{name}` contains itself; remove the cycle"
            ))),
            None => {
                self.known.insert(name, None);
                let size = self.of_selections(&fragment.node.selection_set.node, level)?;
                self.known.insert(name, Some(size));
                Ok(size)
            }
        }
    }
}

/// Keeps the walk's own recursion short. Honest documents end far above: the schema allows fewer levels of fields.
fn check_level(level: usize, limits: &GatewayLimits) -> Result<(), GatewayError> {
    if level > limits.nesting_max {
        return Err(too_many("levels", limits.nesting_max));
    }
    Ok(())
}

fn check_operation(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    limits: &GatewayLimits,
) -> Result<(), GatewayError> {
    let mut shape = Shape { document, limits, directives: operation.directives.len() };
    let root_fields = shape.check(&operation.selection_set.node, Introspection::Outside, 0)?;
    let root_fields_max = match operation.ty {
        OperationType::Subscription => 1,
        OperationType::Query => limits.root_fields_max,
        OperationType::Mutation => limits.mutations_max,
    };
    if root_fields > root_fields_max {
        return Err(too_many("root fields", root_fields_max));
    }
    Ok(())
}

/// Where in the introspection system a selection lies.
#[derive(Clone, Copy)]
enum Introspection {
    Outside,
    /// Inside `__schema` or `__type`, below so many of its lists that lead from type to type.
    Inside(usize),
}

impl Introspection {
    /// Lists of introspection that lead back to types: through them a short document can ask for an answer that
    /// grows exponentially, which complexity does not see. Tools go one list deep, as in `types { fields { type } }`.
    const LISTS: [&'static str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];
    const LISTS_MAX: usize = 1;

    fn enter(self, field: &str) -> Result<Self, GatewayError> {
        match self {
            Self::Outside if matches!(field, "__schema" | "__type") => Ok(Self::Inside(0)),
            Self::Outside => Ok(Self::Outside),
            Self::Inside(lists) if Self::LISTS.contains(&field) => {
                if lists == Self::LISTS_MAX {
                    return Err(GatewayError::bad_request(
                        "the introspection nests lists of fields too deeply; ask for types by name with `__type`",
                    ));
                }
                Ok(Self::Inside(lists + 1))
            }
            Self::Inside(lists) => Ok(Self::Inside(lists)),
        }
    }
}

struct Shape<'a> {
    document: &'a ExecutableDocument,
    limits: &'a GatewayLimits,
    directives: usize,
}

impl<'a> Shape<'a> {
    /// Checks one level, with its fragments put in, and everything below. Returns the number of fields on it.
    fn check(
        &mut self,
        selections: &'a SelectionSet,
        introspection: Introspection,
        level: usize,
    ) -> Result<usize, GatewayError> {
        check_level(level, self.limits)?;
        let mut uses: HashMap<&str, usize> = HashMap::new();
        let mut waiting: Vec<&SelectionSet> = vec![selections];
        let mut fields = 0_usize;
        while let Some(selections) = waiting.pop() {
            for selection in &selections.items {
                self.count_directives(selection.node.directives().len())?;
                match &selection.node {
                    Selection::Field(field) => {
                        let name = field.node.name.node.as_str();
                        fields += 1;
                        let uses = uses.entry(name).or_default();
                        *uses += 1;
                        if *uses > self.limits.aliases_per_field_max {
                            return Err(too_many(
                                "uses of one field side by side",
                                self.limits.aliases_per_field_max,
                            ));
                        }
                        self.check(&field.node.selection_set.node, introspection.enter(name)?, level + 1)?;
                    }
                    Selection::InlineFragment(fragment) => waiting.push(&fragment.node.selection_set.node),
                    Selection::FragmentSpread(spread) => {
                        if let Some(fragment) = self.fragment(&spread.node.fragment_name.node) {
                            self.count_directives(fragment.directives.len())?;
                            waiting.push(&fragment.selection_set.node);
                        }
                    }
                }
            }
        }
        Ok(fields)
    }

    fn fragment(&self, name: &Name) -> Option<&'a FragmentDefinition> {
        self.document.fragments.get(name).map(|fragment| &fragment.node)
    }

    fn count_directives(&mut self, count: usize) -> Result<(), GatewayError> {
        self.directives += count;
        if self.directives > self.limits.directives_max {
            return Err(too_many("directives", self.limits.directives_max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use async_graphql::parser::parse_query;
    use std::fmt::Write;

    fn refusal(query: &str) -> Option<String> {
        check(&parse_query(query).unwrap(), &GatewayLimits::default()).err().map(|error| error.to_string())
    }

    #[test]
    fn an_ordinary_document_passes() {
        assert_eq!(refusal("query A { a { ...F } } fragment F on X { b c @include(if: true) }"), None);
    }

    #[test]
    fn a_bomb_of_fragments_is_refused_by_arithmetic() {
        let mut query = String::from("{ ...F0 }");
        for number in 0..25 {
            write!(query, " fragment F{number} on Q {{ a: x {{ ...F{0} }} b: x {{ ...F{0} }} }}", number + 1)
                .unwrap();
        }
        query.push_str(" fragment F25 on Q { x }");
        assert!(refusal(&query).unwrap().contains("fields"));
    }

    #[test]
    fn cycles_of_fragments_are_refused_even_when_unused() {
        for query in [
            "{ ...A } fragment A on Q { ...B } fragment B on Q { x { ...A } }",
            "{ x } fragment A on Q { ...A }",
        ] {
            assert!(refusal(query).unwrap().contains("contains itself"));
        }
    }

    #[test]
    fn repetition_of_one_field_is_limited() {
        let aliases = |count: usize| (0..count).fold(String::new(), |text, n| format!("{text} a{n}: x"));
        assert_eq!(refusal(&format!("{{ {} }}", aliases(15))), None);
        assert!(refusal(&format!("{{ {} }}", aliases(16))).unwrap().contains("one field"));
        // Spread over fragments it is the same.
        let spread = format!("{{ ...A ... on Q {{ {} }} }} fragment A on Q {{ z: x }}", aliases(15));
        assert!(refusal(&spread).unwrap().contains("one field"));
    }

    #[test]
    fn directives_and_root_fields_are_limited() {
        let directives = "@a ".repeat(51);
        assert!(refusal(&format!("{{ x {directives} }}")).unwrap().contains("directives"));
        let roots = (0..51).fold(String::new(), |text, n| format!("{text} f{n}"));
        assert!(refusal(&format!("{{ {roots} }}")).unwrap().contains("root fields"));
        assert!(refusal("subscription { a b }").unwrap().contains("root fields"));
    }

    #[test]
    fn introspection_may_not_wander_from_type_to_type() {
        assert_eq!(
            refusal("{ __schema { types { fields { args { name } type { ofType { name } } } } } }"),
            None
        );
        let deep = "{ __type(name: \"Job\") { fields { type { fields { name } } } } }";
        assert!(refusal(deep).unwrap().contains("introspection"));
        assert_eq!(refusal("{ a { fields { b { fields { c { fields { d } } } } } } }"), None);
    }

    #[test]
    fn the_operation_is_found_by_name() {
        let document = parse_query("query A { a } mutation B { b }").unwrap();
        assert_eq!(operation_type(&document, Some("B")).unwrap(), OperationType::Mutation);
        assert!(operation_type(&document, None).is_err());
        assert!(operation_type(&document, Some("C")).is_err());
        let single = parse_query("subscription { a }").unwrap();
        assert_eq!(operation_type(&single, None).unwrap(), OperationType::Subscription);
    }
}
