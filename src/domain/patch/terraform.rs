//! A patch as override files of Terraform: blocks that stand beside the code and win over it.
//!
//! Invariants: what is written is valid HCL; a value that is not known is never written; everything that has no block is
//! in a comment. An override of a resource that the code does not have is an error in Terraform, and so a placeholder
//! cannot be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Addresses, Change, Patch, Remedy, Said, TerraformAddress};

/// The name that Terraform takes for an override of the files beside it.
pub const FILE: &str = "failoverd_override.tf";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The module into whose directory it goes: `module.db`; empty: the root module.
    pub module: String,
    pub text: String,
}

/// A resource as it stands in code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    resource_type: String,
    name: String,
}

#[derive(Debug, Default)]
struct Body {
    comments: Vec<String>,
    /// Lines that are written, by attribute.
    lines: BTreeMap<String, Vec<String>>,
    ignored: BTreeSet<String>,
}

/// The address of a change's resource, where it is mapped to one of its own kind.
pub fn address<'a>(change: &Change, addresses: &'a Addresses) -> Option<&'a TerraformAddress> {
    let address = addresses.terraform.get(&change.resource.id)?;
    change.terraform.kind.is_none_or(|kind| kind == address.resource_type()).then_some(address)
}

/// The files of `patch`, one for each module, the root module's first.
pub fn files(patch: &Patch, addresses: &Addresses) -> Vec<File> {
    let mut modules: BTreeMap<String, BTreeMap<Block, Body>> = BTreeMap::new();
    let mut notes: Vec<String> = Vec::new();
    for change in &patch.changes {
        let address = address(change, addresses);
        let resource_type = address.map(TerraformAddress::resource_type).or(change.terraform.kind);
        let Some(resource_type) = resource_type.filter(|_| has_block(change)) else {
            notes.extend(told(change));
            notes.push(String::new());
            continue;
        };
        let module = address.map_or_else(String::new, TerraformAddress::module);
        let name = address.map_or_else(|| format!("FILL_IN_{}", change.resource.label), |a| a.name().to_owned());
        let block = Block { resource_type: resource_type.to_owned(), name };
        let body = modules.entry(module).or_default().entry(block).or_default();
        body.take(change, address, addresses);
    }
    if !notes.is_empty() {
        modules.entry(String::new()).or_default();
    }
    let file = |(module, blocks): (String, BTreeMap<Block, Body>)| {
        let mut text = head(patch, &module);
        if module.is_empty() {
            text.push_str(&comment(&notes));
        }
        blocks.iter().for_each(|(block, body)| text.push_str(&body.text(block)));
        File { module, text }
    };
    modules.into_iter().map(file).collect()
}

/// Whether anything of it can be written into a block.
fn has_block(change: &Change) -> bool {
    matches!(change.terraform.remedy, Remedy::Write(_) | Remedy::Ignore(_))
}

fn head(patch: &Patch, module: &str) -> String {
    let runs = patch.runs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let place = if module.is_empty() { "the root module".to_owned() } else { module.to_owned() };
    let mut lines = vec![
        format!("{FILE}, for the directory of {place}."),
        format!("What failoverd has changed of {}, in {runs}.", patch.application),
    ];
    if patch.under_way {
        lines.push("NOT OVER YET: apply nothing while it runs, and ask for this again when it has ended.".to_owned());
    }
    lines.push(
        "1. terraform plan -refresh-only shows what it has changed; apply -refresh-only takes that into the state."
            .to_owned(),
    );
    lines.push(
        "2. With this file in place, terraform plan must show none of it. Then write it into the code itself."
            .to_owned(),
    );
    lines.push(
        "An override replaces a whole ignore_changes: where a resource has one, add these attributes there instead."
            .to_owned(),
    );
    lines.push(String::new());
    comment(&lines)
}

/// Lines as comments; an empty one separates.
fn comment(lines: &[String]) -> String {
    let line = |line: &String| match line.as_str() {
        "" => "\n".to_owned(),
        text => format!("# {}\n", plain(text)),
    };
    lines.iter().map(line).collect()
}

/// On one line, whatever it holds: a comment must not end early.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c }).collect()
}

/// A change in words.
fn told(change: &Change) -> Vec<String> {
    let attribute = &change.terraform.attribute;
    vec![
        change.resource.id.clone(),
        format!("  {attribute}: {} -> {} ({})", said(&change.before), said(&change.after), change.certainty.as_str()),
        format!("  {}", change.terraform.otherwise),
    ]
}

/// A value for people.
pub fn said(value: &Said) -> String {
    match value {
        Said::Known { value: Value::Null, .. } => "none".to_owned(),
        Said::Known { value: Value::String(text), .. } => text.clone(),
        Said::Known { value, .. } => value.to_string(),
        Said::Unknown { .. } => "unknown".to_owned(),
        Said::Hidden => "(secret)".to_owned(),
    }
}

impl Body {
    fn take(&mut self, change: &Change, address: Option<&TerraformAddress>, addresses: &Addresses) {
        self.comments.extend(told(change));
        let mapped = addresses.terraform.get(&change.resource.id);
        match (address, mapped) {
            (None, Some(other)) => self.comments.push(format!("  FILL IN its address: {other} is of another kind")),
            (None, None) => self.comments.push("  FILL IN its address (or map it under [applications.iac])".to_owned()),
            (Some(_), _) => {}
        }
        let attribute = &change.terraform.attribute;
        let root = attribute.split('.').next().unwrap_or(attribute).to_owned();
        match &change.terraform.remedy {
            Remedy::Ignore(attributes) => self.ignored.extend(attributes.iter().map(|a| (*a).to_owned())),
            Remedy::Write(_) if address.is_some_and(TerraformAddress::is_one_of_several) => {
                self.comments
                    .push(format!("  its block stands for several resources: {attribute} is ignored, not written"));
                self.ignored.insert(root);
            }
            // An attribute that is to go cannot be taken away by an override.
            Remedy::Write(Value::Null) => {
                self.comments.push(format!("  remove {attribute} from the code; until then it is ignored"));
                self.ignored.insert(root);
            }
            Remedy::Write(value) => {
                self.lines.insert(attribute.clone(), assignment(attribute, value));
                if is_created(change) {
                    let name = address.map_or("ADDRESS", TerraformAddress::as_str);
                    let hint = format!("  it did not exist before: terraform import '{name}' '{}'", change.resource.id);
                    if !self.comments.contains(&hint) {
                        self.comments.push(hint);
                    }
                }
            }
            Remedy::Leave | Remedy::Nothing | Remedy::Look => {}
        }
    }

    fn text(&self, block: &Block) -> String {
        let mut text = comment(&self.comments);
        text.push_str(&format!("resource {} {} {{\n", quoted(&block.resource_type), quoted(&block.name)));
        for line in self.lines.values().flatten() {
            text.push_str(&format!("  {line}\n"));
        }
        if !self.ignored.is_empty() {
            let ignored = self.ignored.iter().cloned().collect::<Vec<_>>().join(", ");
            text.push_str(&format!("  lifecycle {{\n    ignore_changes = [{ignored}]\n  }}\n"));
        }
        text.push_str("}\n\n");
        text
    }
}

/// Whether the resource was seen not to be there before.
fn is_created(change: &Change) -> bool {
    matches!(&change.before, Said::Known { value: Value::Null, basis } if basis.ends_with("no such record set"))
}

/// `records = [...]`, or the block of `weighted_routing_policy.weight`.
fn assignment(attribute: &str, value: &Value) -> Vec<String> {
    match attribute.split_once('.') {
        None => vec![format!("{attribute} = {}", literal(value))],
        Some((block, inner)) => {
            vec![format!("{block} {{"), format!("  {inner} = {}", literal(value)), "}".to_owned()]
        }
    }
}

/// A value as HCL writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| format!("{} = {}", quoted(key), literal(value));
            format!("{{ {} }}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Text as HCL quotes it: nothing in it is a template, and nothing ends the quotes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if chars.peek() == Some(&'{') => {
                out.push(c);
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
