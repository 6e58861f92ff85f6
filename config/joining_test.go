package config

import (
	"strings"
	"testing"
)

// TestJoining: what a node's file may leave out that takes the rest from its
// cluster.
func TestJoining(t *testing.T) {
	const key = `"key": "a key that is good enough"`
	for _, tt := range []struct {
		text, id, says string // says: in the error; "" when it is accepted
	}{
		{`{` + key + `}`, "host.example.com", ""},
		{`{"id": "n4", ` + key + `}`, "n4", ""},
		{`{"id": "n4", ` + key + `, "data_dir": "d", "log_level": "debug", "machine": "m"}`, "n4", ""},
		{`{"id": "../n4", ` + key + `}`, "", "cannot be the name of a server"},
		{`{"id": "n4"}`, "", "key: is missing"},
		{`{"id": "n4", ` + key + `, "serverz": 1}`, "", `did you mean "servers"?`},
		{`{"id": "n4", ` + key + `, "cluster": 7}`, "", "cluster: must be an object"},
		{`{"id": "n4", ` + key + `, "servers": {"n1": {"ip": "10.0.0.1", "port": 1}}}`, "n4", ""}, // the cluster's file
	} {
		file, err := Parse("f.json", []byte(tt.text), Overrides{Hostname: "host.example.com", Joining: true})
		switch {
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: %v, want %q", tt.text, err, tt.says)
		case tt.says == "" && (err != nil || string(file.Node.ID) != tt.id):
			t.Errorf("%s: %+v, %v", tt.text, file, err)
		}
		if tt.says == "" {
			if _, err := Parse("f.json", []byte(tt.text), Overrides{Hostname: "host.example.com"}); err == nil {
				t.Errorf("%s: accepted of a node that does not join", tt.text)
			}
		}
	}
	if file, err := Parse("f.json", []byte(`{`+key+`}`), Overrides{ID: "n5", Hostname: "h", Joining: true}); err != nil || file.Node.ID != "n5" || file.Node.Socket != "/run/flip/n5.sock" {
		t.Errorf("%+v, %v", file, err)
	}
}
