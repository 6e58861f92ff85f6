package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite openapi.json")

const about = `What flip's commands use, and any other program of a node may: JSON over HTTP on the daemon's unix socket, /run/flip/ID.sock.
Who may open the socket is trusted.

Answers come from the node's own copy of the log and carry a stamp: the index that they were read at, and how old they may be.
A change is agreed on by way of the leader, wherever that is, and its answer's stamp is at or after it; without a leader it fails
with ` + "`no_leader`" + `, and with ` + "`uncertain`" + ` when it is not known whether it was agreed on: look, or send it again.

An error is an Error with a status above 399: go by its code, which keeps its meaning. A path that there is not is answered with
` + "`not_found`" + `, a method that a path does not take with ` + "`method_not_allowed`" + `; each GET is a HEAD too. An answer may get fields in
another release and none loses its meaning: leave out those that you do not know. What is sent may only have the fields named here.

A field in milliseconds ends in _ms, in microseconds in _us.`

// document is the whole of openapi.json.
func document(t *testing.T) []byte {
	s := &schemas{t: t, docs: readDocs(t), made: map[string]object{}, types: map[string]reflect.Type{}}
	s.of(reflect.TypeFor[Error](), false)
	var paths object
	seen := map[string]bool{}
	for _, r := range routes {
		if seen[r.path] || seen[r.name] {
			t.Errorf("%s %s: its path or its name is there twice", r.method, r.path)
		}
		seen[r.path], seen[r.name] = true, true
		paths = append(paths, pair{r.path, object{{strings.ToLower(r.method), s.operation(r)}}})
	}
	var components object
	slices.Sort(s.order)
	for _, name := range s.order {
		components = append(components, pair{name, s.made[name]})
	}
	out := object{
		{"openapi", "3.1.0"},
		{"info", object{{"title", "flip's control API"}, {"version", "1"}, {"description", about}, {"license", object{{"name", "see LICENSE"}}}}},
		{"servers", []object{
			{{"url", "http://flip"}, {"description", "the unix socket of a node: `curl --unix-socket /run/flip/ID.sock http://flip/v1/status`"}},
			{
				{"url", "https://{server}"},
				{"description", "a server's own port, from anywhere: TLS with the protocol flip-api/1, both sides authenticated by the cluster's key. It does not answer /v1/doctor."},
				{"variables", object{{"server", object{{"default", "127.0.0.1:2200"}, {"description", "HOST:PORT"}}}}},
			},
		}},
		{"paths", paths},
		{"components", object{{"schemas", components}}},
	}
	text, err := plainJSON(out)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", " "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func (s *schemas) operation(r route) object {
	out := object{{"operationId", r.name}, {"summary", r.summary}}
	if r.text != "" {
		out = append(out, pair{"description", r.text})
	}
	var params []object
	for _, p := range r.params {
		o := object{{"name", p.name}, {"in", "query"}, {"description", p.text}}
		if p.kind == nil {
			o = append(o, pair{"allowEmptyValue", true}, pair{"schema", object{{"type", "string"}}})
		} else {
			o = append(o, pair{"schema", s.of(reflect.TypeOf(p.kind), false)})
		}
		params = append(params, o)
	}
	if params != nil {
		out = append(out, pair{"parameters", params})
	}
	if r.body != nil {
		schema := s.of(reflect.TypeOf(r.body), true)
		out = append(out, pair{"requestBody", object{{"required", true}, {"content", object{{"application/json", object{{"schema", schema}}}}}}})
	}
	return append(out, pair{"responses", s.responses(r)})
}

func (s *schemas) responses(r route) object {
	kind, answer := "application/json", object{{"type", "string"}}
	switch {
	case r.answer == nil && r.kind != "":
		kind = r.kind
	case r.answer == nil:
		kind = "text/plain"
	case r.stream:
		kind, answer = "application/x-ndjson", s.of(reflect.TypeOf(r.answer), false)
	default:
		answer = s.of(reflect.TypeOf(r.answer), false)
	}
	reply := func(text, kind string, schema object) object {
		return object{{"description", text}, {"content", object{{kind, object{{"schema", schema}}}}}}
	}
	text := "The answer"
	if r.stream {
		text = "One JSON object a line, until one side closes the connection"
	}
	out := object{{"200", reply(text, kind, answer)}}
	fails := failures(r.fails)
	statuses := slices.Sorted(maps.Keys(fails))
	for status := range r.also {
		if _, ok := fails[status]; !ok {
			statuses = append(statuses, status)
		}
	}
	slices.Sort(statuses)
	for _, status := range statuses {
		codes := fails[status]
		schema, text := errorSchema(codes), quoted(codes)
		if v, ok := r.also[status]; ok {
			other := s.of(reflect.TypeOf(v), false)
			if schema = other; len(codes) > 0 {
				schema = object{{"anyOf", []object{other, errorSchema(codes)}}}
			}
			text = strings.TrimPrefix(text+", or the answer", "``, or ")
		}
		out = append(out, pair{strconv.Itoa(status), reply(text, "application/json", schema)})
	}
	return out
}

func TestOpenAPIIsMadeFromTheTypes(t *testing.T) {
	want := document(t)
	if *update && !t.Failed() {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(want, OpenAPI) {
		t.Errorf("api/openapi.json is not what the types and the routes in openapi_routes_test.go make.\nRun `go test ./api -run TestOpenAPI -update` and commit it. First difference, have and want:\n%s", firstDifference(string(OpenAPI), string(want)))
	}
}

func firstDifference(have, want string) string {
	a, b := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		line := func(l []string) string {
			if i < len(l) {
				return l[i]
			}
			return "(the end)"
		}
		if line(a) != line(b) {
			return fmt.Sprintf("line %d: %s\nline %d: %s", i+1, line(a), i+1, line(b))
		}
	}
	return "none"
}

// Each code that an error can have is one that some path answers with, but for those
// of the members-only port, of wrong requests and of the client.
func TestEveryCodeIsInTheDocument(t *testing.T) {
	elsewhere := []string{CodeMethod, CodeNotLeader, CodeTaken, CodeBehind}
	for code := range statusOf {
		used := slices.ContainsFunc(routes, func(r route) bool { return slices.Contains(r.fails, code) })
		if used == slices.Contains(elsewhere, code) {
			t.Errorf("code %s: is it answered on the unix socket? Then name it in a route's fails, else in this test", code)
		}
	}
}

func TestEnumsNameFieldsThatThereAre(t *testing.T) {
	s := &schemas{t: t, docs: readDocs(t), made: map[string]object{}, types: map[string]reflect.Type{}}
	for _, r := range routes {
		if r.answer != nil {
			s.of(reflect.TypeOf(r.answer), false)
		}
	}
	for key := range enums {
		name, field, _ := strings.Cut(key, ".")
		properties, _ := s.made[name].get("properties").(object)
		if schema, _ := properties.get(field).(object); schema.get("enum") == nil {
			t.Errorf("enums has %s, which no answer has", key)
		}
	}
}

// Somebody else's reader takes the document for what it is to be.
func TestOpenAPIIsValid(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python: not with -short")
	}
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import openapi_spec_validator").Run(); err != nil {
		t.Skip("no openapi_spec_validator for python3 here: the document is not held against the standard")
	}
	check := func(name string) ([]byte, error) {
		return exec.CommandContext(t.Context(), "python3", "-m", "openapi_spec_validator", name).CombinedOutput()
	}
	if out, err := check("openapi.json"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, bytes.Replace(OpenAPI, []byte(`"responses"`), []byte(`"replies"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := check(bad); err == nil {
		t.Errorf("a document without responses is taken: %s", out)
	}
}
