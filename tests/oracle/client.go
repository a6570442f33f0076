package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/cppforlife/go-cli-ui/ui"
	rows "github.com/cppforlife/go-cli-ui/ui/table"
	"github.com/getkin/kin-openapi/openapi3"
	yaml3 "gopkg.in/yaml.v3"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime"
)

// defaults reads, converts, copies and encodes with the libraries themselves; the rules of the client, which is not
// obtainable as a module, stand between them in our own words: what is entered into a map, and the text's last changes.
func defaults(text []byte, newer bool) (string, error) {
	var props apiextensions.JSONSchemaProps
	if err := yaml3.Unmarshal(text, &props); err != nil {
		return "", err
	}
	root, err := schema.NewStructural(&props)
	if err != nil {
		return "", err
	}
	if newer && len(root.Properties) == 0 {
		return "", errors.New("no configurable values")
	}
	values := map[string]any{}
	enter(values, root, newer)
	out, err := encode(values)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, line := range lines {
		if newer {
			line = strings.Replace(line, ": {}", ":", 1)
		}
		lines[i] = "# " + line + "\n"
	}
	return strings.Join(lines, ""), nil
}

func enter(values map[string]any, parent *schema.Structural, newer bool) {
	for key, child := range parent.Properties {
		value := child.Default.Object
		if value == nil {
			if !wanted(child, newer) && !required(parent, key, newer) {
				continue
			}
			value = map[string]any{}
		}
		present, found := values[key]
		if found && (present != nil || child.Nullable) {
			continue
		}
		if _, scalar := value.(int); !scalar {
			value = runtime.DeepCopyJSONValue(value)
		}
		values[key] = value
	}
	for key, value := range values {
		child, known := parent.Properties[key]
		if inner, isMap := value.(map[string]any); known && isMap {
			enter(inner, &child, newer)
		}
	}
}

func wanted(node schema.Structural, newer bool) bool {
	for key, child := range node.Properties {
		switch {
		case child.Type != "object":
			if child.Default.Object != nil || required(&node, key, newer) {
				return true
			}
		case child.Default.Object == nil && wanted(child, newer):
			return true
		}
	}
	return false
}

func required(parent *schema.Structural, key string, newer bool) bool {
	if newer {
		for _, name := range parent.ValueValidation.Required {
			if name == key {
				return true
			}
		}
	}
	return false
}

// table loads and prints with the libraries themselves; only the walk over the properties is ours.
func table(text []byte, asJSON bool) (string, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return "", err
	}
	raw, isRaw := doc.Extensions["properties"].(json.RawMessage)
	if !isRaw {
		return "", errors.New("no properties")
	}
	var properties map[string]any
	if err := json.Unmarshal(raw, &properties); err != nil {
		return "", err
	}
	t := rows.Table{SortBy: []rows.ColumnSort{{Column: 0, Asc: true}}}
	for _, title := range []string{"Key", "Default", "Type", "Description"} {
		t.Header = append(t.Header, rows.NewHeader(title))
	}
	if len(properties) == 0 {
		list(&t, nil, doc.Extensions)
	} else {
		walk(&t, nil, properties)
	}
	var out bytes.Buffer
	printer := ui.NewWriterUI(&out, &out, ui.NewNoopLogger())
	if asJSON {
		wrapped := ui.NewJSONUI(printer, ui.NewNoopLogger())
		wrapped.PrintTable(t)
		wrapped.Flush()
	} else {
		printer.PrintTable(t)
	}
	return out.String(), nil
}

func walk(t *rows.Table, path []string, properties map[string]any) {
	for key, value := range properties {
		node, isMap := value.(map[string]any)
		if !isMap {
			continue
		}
		here := append(path[:len(path):len(path)], key)
		inner, exists := node["properties"]
		children, isMap := inner.(map[string]any)
		switch {
		case len(children) > 0:
			walk(t, here, children)
		case !exists || isMap:
			list(t, here, node)
		}
	}
}

func list(t *rows.Table, path []string, node map[string]any) {
	kind, _ := node["type"].(string)
	description, _ := node["description"].(string)
	t.Rows = append(t.Rows, []rows.Value{
		rows.NewValueString(strings.Join(path, ".")), rows.NewValueInterface(node["default"]),
		rows.NewValueString(kind), rows.NewValueString(description),
	})
}
