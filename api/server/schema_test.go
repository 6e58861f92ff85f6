package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
)

// contract is the OpenAPI document as far as answers are held against it.
type contract struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]schema }
}

type operation struct {
	OperationID string
	Parameters  []struct{ Name string }
	RequestBody *content
	Responses   map[string]content
}

type content struct {
	Description string
	Content     map[string]struct{ Schema schema }
}

type schema map[string]any

func readContract(t *testing.T) *contract {
	t.Helper()
	var c contract
	if err := json.Unmarshal(api.OpenAPI, &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

const addRoute = `add it to routes in api/openapi_routes_test.go, then run
	go test ./api -run TestOpenAPI -update`

// answer says what is wrong with an answer by the document.
func (c *contract) answer(method, path string, status int, kind string, body []byte) error {
	op, known := c.Paths[path][strings.ToLower(method)]
	if !known {
		if status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
			return c.holds(c.Components.Schemas["Error"], body)
		}
		return fmt.Errorf("%s %s is not in the document: %s", method, path, addRoute)
	}
	reply, known := op.Responses[strconv.Itoa(status)]
	if !known {
		return fmt.Errorf("%s %s answers %d, which the document does not have: if it shall, name its code in the route's fails; %s", method, path, status, addRoute)
	}
	kind, _, _ = strings.Cut(kind, ";")
	media, known := reply.Content[kind]
	switch {
	case !known:
		return fmt.Errorf("%s %s answers %d as %s, the document has another kind", method, path, status, kind)
	case kind == "text/plain", kind == "application/octet-stream":
		return nil
	}
	for line := range bytes.Lines(body) {
		if kind != "application/x-ndjson" {
			line = body
		}
		if err := c.holds(media.Schema, line); err != nil {
			return fmt.Errorf("%s %s, %d: %w\nin %.300s\nIf the types have changed: go test ./api -run TestOpenAPI -update", method, path, status, err, line)
		}
		if kind != "application/x-ndjson" {
			break
		}
	}
	return nil
}

// holds says what of a JSON value a schema does not allow.
func (c *contract) holds(s schema, text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return fmt.Errorf("no JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return c.check(s, v, "answer")
}

// check also refuses fields that the schema does not name: it may leave them out for
// others, this server must not.
func (c *contract) check(s schema, v any, at string) error {
	if err := c.apply(s, v, at); err != nil {
		return err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	names, open := c.names(s)
	for name := range o {
		if !open && !slices.Contains(names, name) {
			return fmt.Errorf("%s.%s: the document has no such field", at, name)
		}
	}
	return nil
}

// names are the fields that a schema knows; open: it takes any.
func (c *contract) names(s schema) (names []string, open bool) {
	if ref, ok := s["$ref"].(string); ok {
		names, open = c.names(c.ref(ref))
	}
	for name := range schemaOf(s["properties"]) {
		names = append(names, name)
	}
	extra, ok := s["additionalProperties"]
	open = open || ok && extra != false
	for _, key := range []string{"allOf", "anyOf"} {
		list, _ := s[key].([]any)
		for _, part := range list {
			more, any := c.names(schemaOf(part))
			names, open = append(names, more...), open || any
		}
	}
	return names, open || len(names) == 0
}

func (c *contract) ref(ref string) schema {
	return c.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")]
}

func schemaOf(v any) schema {
	m, _ := v.(map[string]any)
	return m
}

// apply is the part of JSON Schema that the document uses. Another keyword is an
// error: a check that is not made is none.
func (c *contract) apply(s schema, v any, at string) error {
	if want, ok := s["type"].(string); ok {
		if err := typed(want, v, at); err != nil {
			return err
		}
	}
	for key, want := range s {
		var err error
		switch key {
		case "type", "description", "format", "additionalProperties":
			if each, ok := want.(map[string]any); ok {
				err = c.each(each, v, at)
			}
		case "$ref":
			target := c.ref(want.(string))
			if target == nil {
				return fmt.Errorf("%s: the document has no %s", at, want)
			}
			err = c.apply(target, v, at)
		case "enum":
			if !slices.Contains(want.([]any), v) {
				err = fmt.Errorf("%s is %q, which its enum in api/openapi_routes_test.go does not have", at, v)
			}
		case "minimum":
			if n, ok := v.(json.Number); ok && strings.HasPrefix(n.String(), "-") {
				err = fmt.Errorf("%s is negative", at)
			}
		case "minItems", "maxItems":
			if l, ok := v.([]any); ok && float64(len(l)) != want {
				err = fmt.Errorf("%s has %d elements, not %v", at, len(l), want)
			}
		default:
			err = c.parts(key, want, v, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *contract) parts(key string, want, v any, at string) error {
	o, _ := v.(map[string]any)
	switch key {
	case "required":
		for _, name := range want.([]any) {
			if _, there := o[name.(string)]; !there {
				return fmt.Errorf("%s has no %s", at, name)
			}
		}
	case "properties":
		for name, part := range schemaOf(want) {
			if value, there := o[name]; there {
				if err := c.check(schemaOf(part), value, at+"."+name); err != nil {
					return err
				}
			}
		}
	case "items":
		list, _ := v.([]any)
		for i, value := range list {
			if err := c.check(schemaOf(want), value, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case "allOf":
		for _, part := range want.([]any) {
			if err := c.apply(schemaOf(part), v, at); err != nil {
				return err
			}
		}
	case "anyOf":
		var err error
		for _, part := range want.([]any) {
			if err = c.check(schemaOf(part), v, at); err == nil {
				return nil
			}
		}
		return err
	default:
		return fmt.Errorf("the check does not know the keyword %s", key)
	}
	return nil
}

// each holds every field of a map against one schema.
func (c *contract) each(s schema, v any, at string) error {
	o, _ := v.(map[string]any)
	for name, value := range o {
		if err := c.check(s, value, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func typed(want string, v any, at string) error {
	got := "null"
	switch v := v.(type) {
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case []any:
		got = "array"
	case map[string]any:
		got = "object"
	case json.Number:
		got = "integer"
		if strings.ContainsAny(v.String(), ".eE") || want == "number" {
			got = "number"
		}
	}
	if got != want {
		return fmt.Errorf("%s is of type %s, not %s", at, got, want)
	}
	return nil
}
