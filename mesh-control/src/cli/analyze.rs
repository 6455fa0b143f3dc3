//! `meshctl analyze`: what the controller would say of manifests.

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{
    CliError, Outcome,
    output::{Format, View},
};
use crate::analyze::{Analysis, Finding, Level, analyze, read, sarif};

#[derive(Debug, Args)]
pub(super) struct AnalyzeArguments {
    /// Files, directories, or - for standard input.
    #[arg(required = true, value_name = "FILE|DIRECTORY|-")]
    paths: Vec<PathBuf>,
}

/// Reads, judges, and prints.
pub(super) fn run(
    arguments: &AnalyzeArguments,
    format: Format,
    to: &mut impl Write,
) -> Result<Outcome, CliError> {
    let analysis = analyze(&read(&arguments.paths)?);
    match format {
        Format::Sarif => View::new(&sarif(&analysis), String::new()).print(Format::Json, to)?,
        format => View::new(&analysis, text(&analysis)).print(format, to)?,
    }
    Ok(if analysis.is_partial() {
        Outcome::Unknown
    } else if analysis.count(Level::Error) > 0 {
        Outcome::No
    } else {
        Outcome::Yes
    })
}

fn text(analysis: &Analysis) -> String {
    let line = |finding: &Finding| {
        let object = finding.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        format!(
            "{}:{}: {}[{}] {object}{}\n",
            finding.file,
            finding.line,
            finding.level.name(),
            finding.rule,
            finding.message
        )
    };
    let mut text: String = analysis.findings.iter().map(line).collect();
    let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    text.push_str(&format!(
        "{} and {} in {} of {}\n",
        count(analysis.count(Level::Error), "error"),
        count(analysis.count(Level::Warning), "warning"),
        count(analysis.objects, "object"),
        count(analysis.files, "file"),
    ));
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::{AnalyzeArguments, Format, Outcome, run};

    /// What a file's analysis prints, and what it comes to.
    fn printed(text: &str, format: Format) -> (String, Outcome) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), text).unwrap();
        let mut output = Vec::new();
        let outcome = run(&AnalyzeArguments { paths: vec![folder.path().to_owned()] }, format, &mut output);
        let output = String::from_utf8(output).unwrap().replace(&format!("{}/", folder.path().display()), "");
        (output, outcome.unwrap())
    }

    const GOOD: &str = "apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: shop}
spec: {selector: {}, ingress: []}
";

    #[test]
    fn the_exit_code_says_what_was_found() {
        assert_eq!(
            printed(GOOD, Format::Table),
            ("0 errors and 0 warnings in 1 object of 1 file\n".to_owned(), Outcome::Yes)
        );
        let (text, outcome) =
            printed(&GOOD.replace("ingress: []", "ingress: [{mtls: \"Off\"}]"), Format::Table);
        assert!(
            text.starts_with("a.yaml:4: error[Invalid] AccessPolicy/shop/a: spec.ingress[0].mtls: "),
            "{text}"
        );
        assert!(text.ends_with("1 error and 0 warnings in 1 object of 1 file\n"), "{text}");
        assert_eq!(outcome, Outcome::No);
        assert_eq!(printed("a: [\n", Format::Table).1, Outcome::Unknown);
        let nowhere = AnalyzeArguments { paths: vec!["/nowhere".into()] };
        assert!(run(&nowhere, Format::Table, &mut Vec::new()).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn programs_read_the_same() {
        let (json, _) = printed(&format!("{GOOD}more: 1\n"), Format::Json);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["findings"][0]["rule"], "UnknownField");
        assert_eq!(json["findings"][0]["line"], 5);
        let (sarif, outcome) = printed(&format!("{GOOD}more: 1\n"), Format::Sarif);
        let sarif: Value = serde_json::from_str(&sarif).unwrap();
        assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "UnknownField");
        assert_eq!(outcome, Outcome::No);
    }
}
