package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// Whatever is taken in is the same once it was written and read again.
func FuzzContexts(f *testing.F) {
	f.Add([]byte(`{"current": "a", "contexts": {"a": {"addresses": ["h:1", "[::1]:2"], "key_file": "k"}}}`))
	f.Add([]byte(`{"contexts": {}}`))
	f.Add([]byte(`{"contexts": {"a": {"addresses": [""], "key_file": "k"}}}`))
	f.Add([]byte(`{"contexts": null}`))
	f.Add([]byte(`{"current": null}`))
	f.Add([]byte(`{`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		was, err := parseContexts(data)
		if err != nil {
			return
		}
		was.path = filepath.Join(t.TempDir(), "sub", "contexts.json")
		if err := was.save(); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(was.path)
		if err != nil {
			t.Fatal(err)
		}
		is, err := parseContexts(written)
		if err != nil {
			t.Fatalf("%q became %q: %v", data, written, err)
		}
		if is.path = was.path; !reflect.DeepEqual(is, was) {
			t.Errorf("%q became %q: %+v, %+v", data, written, was, is)
		}
	})
}

func TestContextsPath(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"FLIP_CONTEXTS": "x", "XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "x"},
		{map[string]string{"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/flip/contexts.json"},
		{map[string]string{"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/flip/contexts.json"},
		{map[string]string{"HOME": "/h"}, "/h/.config/flip/contexts.json"},
		{nil, ""},
	} {
		a := &App{Env: func(name string) string { return tt.env[name] }, Stderr: &bytes.Buffer{}}
		if got := a.contextsPath(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.env, got, tt.want)
		}
	}
	// Nowhere to read from is no failure, nowhere to write to is one.
	a := &App{Env: func(string) string { return "" }, Stderr: &bytes.Buffer{}}
	f, err := a.contexts()
	if err != nil || len(f.Contexts) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if err := f.save(); err == nil {
		t.Error("written nowhere")
	}
}
