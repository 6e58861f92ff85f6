package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// object is a JSON object that keeps the order of its members.
type object []pair

type pair struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, p := range o {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		for j, v := range []any{p.key, p.value} {
			text, err := plainJSON(v)
			if err != nil {
				return nil, err
			}
			b.Write(text)
			if j == 0 {
				b.WriteByte(':')
			}
		}
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o object) get(key string) any {
	for _, p := range o {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// plainJSON leaves <, > and & as they are.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// schemas makes a schema of each type that travels.
type schemas struct {
	t     *testing.T
	docs  docs
	made  map[string]object
	types map[string]reflect.Type
	order []string
}

// closed marks what is only ever sent to the server, which refuses what it does not
// know.
func (s *schemas) of(rt reflect.Type, closed bool) object {
	if rt.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return object{{"type", "string"}}
	}
	switch rt.Kind() {
	case reflect.Pointer:
		return s.of(rt.Elem(), closed)
	case reflect.Struct:
		s.component(rt, closed)
		return object{{"$ref", "#/components/schemas/" + rt.Name()}}
	case reflect.Slice:
		return object{{"type", "array"}, {"items", s.of(rt.Elem(), closed)}}
	case reflect.Array:
		return object{{"type", "array"}, {"items", s.of(rt.Elem(), closed)}, {"minItems", rt.Len()}, {"maxItems", rt.Len()}}
	case reflect.Map:
		return object{{"type", "object"}, {"additionalProperties", s.of(rt.Elem(), closed)}}
	case reflect.Interface:
		return object{}
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{{"type", "integer"}, {"format", "int64"}}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{{"type", "integer"}, {"format", "int64"}, {"minimum", 0}}
	case reflect.Float32, reflect.Float64:
		return object{{"type", "number"}}
	default:
		s.t.Fatalf("%s cannot travel: no schema for its kind", rt)
		return nil
	}
}

// component makes the schema of a struct once. A type that travels both ways is
// open: as an answer it may have more fields one day.
func (s *schemas) component(rt reflect.Type, closed bool) {
	if had, ok := s.types[rt.Name()]; ok && had != rt {
		s.t.Fatalf("%s and %s have one name in the document: rename one", had, rt)
	}
	if old, ok := s.made[rt.Name()]; ok && (closed || old.get("additionalProperties") == nil) {
		return
	} else if !ok {
		s.order = append(s.order, rt.Name())
	}
	s.types[rt.Name()] = rt
	s.made[rt.Name()] = object{} // a type may hold itself
	var properties object
	var required []string
	s.fields(rt, closed, &properties, &required)
	out := object{{"type", "object"}}
	if text := s.docs.of(rt, ""); text != "" {
		out = append(out, pair{"description", text})
	}
	out = append(out, pair{"properties", properties})
	if len(required) > 0 {
		out = append(out, pair{"required", required})
	}
	if closed {
		out = append(out, pair{"additionalProperties", false})
	}
	s.made[rt.Name()] = out
}

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func (s *schemas) fields(rt reflect.Type, closed bool, properties *object, required *[]string) {
	for i := range rt.NumField() {
		f := rt.Field(i)
		name, options, tagged := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			s.fields(f.Type, closed, properties, required)
			continue
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		if !snake.MatchString(name) {
			s.t.Errorf("%s.%s is %q in JSON: give it a snake_case name", rt, f.Name, name)
		}
		optional := tagged && (strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero"))
		if f.Type.Kind() == reflect.Pointer && !optional {
			s.t.Errorf("%s.%s may be null: give it omitempty", rt, f.Name)
		}
		schema := s.of(f.Type, closed)
		if values := enums[rt.Name()+"."+name]; values != nil {
			schema = append(schema, pair{"enum", values})
		}
		if text := s.docs.of(rt, f.Name); text != "" {
			schema = append(schema, pair{"description", text})
		}
		*properties = append(*properties, pair{name, schema})
		if !optional {
			*required = append(*required, name)
		}
	}
}

// failures groups an operation's codes by status.
func failures(codes []string) map[int][]string {
	out := map[int][]string{}
	for _, c := range codes {
		status := (&Error{Code: c}).Status()
		out[status] = append(out[status], c)
	}
	return out
}

// errorSchema is an Error with one of these codes.
func errorSchema(codes []string) object {
	return object{{"allOf", []object{
		{{"$ref", "#/components/schemas/Error"}},
		{{"type", "object"}, {"properties", object{{"code", object{{"enum", codes}}}}}},
	}}}
}

func quoted(codes []string) string { return fmt.Sprintf("`%s`", strings.Join(codes, "`, `")) }
