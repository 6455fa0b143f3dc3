//! Templates and what Helm gives for them, written down; `tests/tests/helm.rs` asks Helm itself about the whole chart.

use serde_json::{Value, json};

use super::Templates;

fn render(text: &str, dot: Value) -> Result<String, String> {
    let mut templates = Templates::default();
    let template = templates.read("t.yaml", text).map_err(|error| error.to_string())?;
    templates.render(&template, &dot).map_err(|error| error.to_string())
}

#[test]
fn white_space_goes_where_a_dash_says_so() {
    let dot = json!({"a": "x"});
    for (text, gives) in [
        ("1\n{{ .a }}\n2", "1\nx\n2"),
        ("1\n  {{- .a }}\n2", "1x\n2"),
        ("1\n{{ .a -}}\n 2", "1\nx2"),
        ("1 {{- /* said */ -}} 2", "12"),
        ("1 {{/* said */}} 2", "1  2"),
        ("{{ \"}}\" }}", "}}"),
    ] {
        assert_eq!(render(text, dot.clone()).as_deref(), Ok(gives), "{text}");
    }
}

#[test]
fn branches_lists_and_parts() {
    let dot =
        json!({"on": true, "off": false, "none": null, "list": ["a", "b"], "map": {"k": "v"}, "zero": 0});
    for (text, gives) in [
        ("{{ if .on }}1{{ else }}2{{ end }}", "1"),
        ("{{ if .off }}1{{ else if .none }}2{{ else if .map }}3{{ else }}4{{ end }}", "3"),
        ("{{ if .missing }}1{{ end }}", ""),
        ("{{ if not .zero }}1{{ end }}", "1"),
        ("{{ range .list }}[{{ . }}]{{ end }}", "[a][b]"),
        ("{{ range .none }}x{{ end }}", ""),
        ("{{ with .map }}{{ .k }}{{ end }}{{ with .none }}x{{ end }}", "v"),
        ("{{ define \"p\" }}<{{ .k }}>{{ end }}{{ include \"p\" .map }}", "<v>"),
    ] {
        assert_eq!(render(text, dot.clone()).as_deref(), Ok(gives), "{text}");
    }
}

#[test]
fn functions_give_what_helm_gives() {
    let dot = json!({"map": {"a": ["x", "y"], "b": "1"}, "text": "a\"b", "number": 5});
    for (text, gives) in [
        ("m:{{ toYaml .map | nindent 2 }}", "m:\n  a:\n  - x\n  - \"y\"\n  b: \"1\""),
        ("{{ .text | quote }}", r#""a\"b""#),
        ("{{ .number | quote }}", "\"5\""),
        ("{{ .text | printf \"--x=%s\" }}", "--x=a\"b"),
        ("{{ add .number 10 }}", "15"),
        ("{{ quote (add .number 1) }}", "\"6\""),
    ] {
        assert_eq!(render(text, dot.clone()).as_deref(), Ok(gives), "{text}");
    }
}

#[test]
fn what_is_not_known_is_an_error_with_its_place() {
    let dot = json!({"a": "x", "list": []});
    for (text, says) in [
        ("\n{{ upper .a }}", "t.yaml:2: no function `upper`"),
        ("{{ .a", "has no `}}`"),
        ("{{ if .a }}", "has no `end`"),
        ("{{ end }}", "`end` ends nothing"),
        ("{{ $x := .a }}", "`$x` is not known"),
        ("{{ .a.b }}", "is asked of what is no map"),
        ("{{ .missing }}", "there is no such value"),
        ("{{ .list }}", "toYaml"),
        ("{{ include \"p\" . }}", "no template `p`"),
        ("{{ define \"p\" }}{{ include \"p\" . }}{{ end }}{{ include \"p\" . }}", "in a circle"),
        ("{{ .a | .a }}", "functions only"),
        ("{{ template \"p\" }}", "`template` is not known"),
        ("{{ range .a }}{{ end }}", "lists only"),
        ("{{ with .a }}{{ else }}{{ end }}", "`else` is not known"),
    ] {
        let said = render(text, dot.clone()).unwrap_err();
        assert!(said.contains(says), "{text}: {said}");
    }
}
