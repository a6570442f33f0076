// The oracle answers, for one JSON request per line, what the libraries that the client is built from do.
//
// Requests: {"op": "yaml3" | "yaml2", "value": …} encode a value; {"op": "defaults", "text": JSON, "new": bool}
// reads a schema, fills in its defaults and prints them; {"op": "table" | "text", "text": JSON} lists its values;
// {"op": "constraints", "text": …, "value": […]} reads constraints on versions as the server does, and answers for each
// version with 1 or 0.
// The answer is {"out": …}, or {"error": …} where a library reports an error or panics.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	semver "github.com/k14s/semver/v4"
	yaml2 "gopkg.in/yaml.v2"
	yaml3 "gopkg.in/yaml.v3"
)

type request struct {
	Op    string
	Value json.RawMessage
	Text  string
	New   bool
}

type answer struct {
	Out   string `json:"out"`
	Error string `json:"error"`
}

func main() {
	requests := json.NewDecoder(bufio.NewReader(os.Stdin))
	answers := json.NewEncoder(os.Stdout)
	for {
		var r request
		err := requests.Decode(&r)
		if err == io.EOF {
			return
		}
		if err == nil {
			err = answers.Encode(respond(r))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func respond(r request) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Error: fmt.Sprint("panic: ", p)}
		}
	}()
	out, err := run(r)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Out: out}
}

func run(r request) (string, error) {
	switch r.Op {
	case "yaml3":
		value, err := plain(r.Value)
		if err != nil {
			return "", err
		}
		return encode(value)
	case "yaml2":
		value, err := plain(r.Value)
		if err != nil {
			return "", err
		}
		out, err := yaml2.Marshal(value)
		return string(out), err
	case "defaults":
		return defaults([]byte(r.Text), r.New)
	case "table":
		return table([]byte(r.Text), true)
	case "text":
		return table([]byte(r.Text), false)
	case "constraints":
		return accepted(r.Text, r.Value)
	}
	return "", fmt.Errorf("unknown op %q", r.Op)
}

func accepted(text string, versions json.RawMessage) (string, error) {
	accepts, err := semver.ParseRange(text)
	if err != nil {
		return "", err
	}
	var asked []string
	if err := json.Unmarshal(versions, &asked); err != nil {
		return "", err
	}
	answers := ""
	for _, one := range asked {
		version, err := semver.Parse(one)
		if err != nil {
			return "", err
		}
		if accepts(version) {
			answers += "1"
		} else {
			answers += "0"
		}
	}
	return answers, nil
}

func encode(value any) (string, error) {
	var out bytes.Buffer
	encoder := yaml3.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	err := encoder.Close()
	return out.String(), err
}

// plain decodes JSON with numbers that have a fraction or an exponent as float64 and all others as int.
func plain(raw json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return numbers(value)
}

func numbers(value any) (any, error) {
	var err error
	switch v := value.(type) {
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return v.Float64()
		}
		n, err := v.Int64()
		return int(n), err
	case map[string]any:
		for key := range v {
			if v[key], err = numbers(v[key]); err != nil {
				return nil, err
			}
		}
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}
