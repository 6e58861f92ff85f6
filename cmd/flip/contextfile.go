package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/secure"
)

// contexts are the clusters that a person works with, by name.
type contexts struct {
	Current  string             `json:"current,omitempty"`
	Contexts map[string]savedAt `json:"contexts"`

	path string
}

// savedAt is how one cluster is reached.
type savedAt struct {
	Addresses []string `json:"addresses"`
	KeyFile   string   `json:"key_file,omitempty"`
	Cert      string   `json:"cert,omitempty"` // with its key and the nodes' authority
	TLSKey    string   `json:"tls_key,omitempty"`
	CA        string   `json:"ca,omitempty"`
}

func (at savedAt) proof() proof {
	return proof{at.KeyFile, secure.Files{Cert: at.Cert, Key: at.TLSKey, CA: at.CA}}
}

// contextsPath is $FLIP_CONTEXTS, else contexts.json in the directory for a
// person's configuration; "" where there is none.
func (a *App) contextsPath() string {
	if path := a.Env("FLIP_CONTEXTS"); path != "" {
		return path
	}
	if dir := a.Env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "flip", "contexts.json")
	}
	if home := a.Env("HOME"); home != "" {
		return filepath.Join(home, ".config", "flip", "contexts.json")
	}
	return ""
}

// contexts reads the file; one that is not there is empty.
func (a *App) contexts() (*contexts, error) {
	path := a.contextsPath()
	none := &contexts{Contexts: map[string]savedAt{}, path: path}
	if path == "" {
		return none, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contexts: %w", err)
	}
	out, err := parseContexts(data)
	if err != nil {
		var hint hinted
		if errors.As(err, &hint) {
			return nil, hinted{fmt.Errorf("read contexts: %s: %w", path, hint.error), hint.hint}
		}
		return nil, hinted{fmt.Errorf("read contexts: %s: %w", path, err), "mend it, or move it away and make it anew: flip context add"}
	}
	out.path = path
	a.warnMode(path, "your contexts")
	return out, nil
}

func parseContexts(data []byte) (*contexts, error) {
	out := &contexts{Contexts: map[string]savedAt{}}
	top, err := strictObject(data, "", "current", "contexts")
	if err != nil {
		return nil, err
	}
	if err := fieldOf(top, "", "current", &out.Current); err != nil {
		return nil, err
	}
	if top["contexts"] == nil {
		top["contexts"] = json.RawMessage("{}")
	}
	byName, err := strictObject(top["contexts"], "contexts")
	if err != nil {
		return nil, err
	}
	for name, raw := range byName {
		path := "contexts." + name
		one, err := strictObject(raw, path, "addresses", "key_file", "cert", "tls_key", "ca")
		if err != nil {
			return nil, err
		}
		var at savedAt
		err = errors.Join(fieldOf(one, path, "addresses", &at.Addresses), fieldOf(one, path, "key_file", &at.KeyFile),
			fieldOf(one, path, "cert", &at.Cert), fieldOf(one, path, "tls_key", &at.TLSKey), fieldOf(one, path, "ca", &at.CA))
		switch {
		case err != nil:
			return nil, err
		case len(at.Addresses) == 0 || at.proof().empty():
			return nil, fmt.Errorf("%s needs addresses, and key_file or cert, tls_key and ca", path)
		case at.proof().whole() != nil:
			return nil, fmt.Errorf("%s: cert, tls_key and ca go together", path)
		}
		var usage *usageError
		if _, err := parseAddresses(strings.Join(at.Addresses, ",")); errors.As(err, &usage) {
			return nil, hinted{fmt.Errorf("%s.addresses: %s", path, usage.what), usage.hint}
		}
		out.Contexts[name] = at
	}
	if _, known := out.Contexts[out.Current]; out.Current != "" && !known {
		return nil, hinted{fmt.Errorf("current: there is no context %q", out.Current), config.Meant(out.Current, out.names())}
	}
	return out, nil
}

// strictObject reads an object that has no key twice and, if any are known, none
// but those.
func strictObject(data []byte, path string, known ...string) (map[string]json.RawMessage, error) {
	at := or(path, "the file")
	dec := json.NewDecoder(bytes.NewReader(data))
	open, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", at, err)
	}
	if open != json.Delim('{') {
		return nil, fmt.Errorf("%s must be an object", at)
	}
	out := map[string]json.RawMessage{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%s is not JSON: %w", at, err)
		}
		key, _ := token.(string) // in an object nothing else comes first
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%s is not JSON: %w", at, err)
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s has the key %q twice", at, key)
		}
		if len(known) > 0 && !slices.Contains(known, key) {
			return nil, hinted{fmt.Errorf("%s: unknown key %q", at, key), config.Meant(key, known)}
		}
		out[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", at, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is not JSON: something follows its end", at)
	}
	return out, nil
}

// fieldOf reads one key, if it is there.
func fieldOf(of map[string]json.RawMessage, path, key string, into any) error {
	raw, there := of[key]
	if !there {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		want := "a string"
		if _, list := into.(*[]string); list {
			want = "a list of strings"
		}
		return fmt.Errorf("%s must be %s", strings.TrimPrefix(path+"."+key, "."), want)
	}
	return nil
}

func (f *contexts) names() []string {
	out := make([]string, 0, len(f.Contexts))
	for name := range f.Contexts {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// find is a context by its name.
func (f *contexts) find(name string) (savedAt, error) {
	if at, known := f.Contexts[name]; known {
		return at, nil
	}
	hint := config.Meant(name, f.names())
	if len(f.Contexts) == 0 {
		hint = "there are none yet: flip context add NAME --address HOST:PORT --key-file FILE"
	}
	return savedAt{}, &usageError{what: fmt.Sprintf("there is no context %q", name), hint: hint}
}

// proof is what a context names: from the contexts' own file on, where it is
// relative.
func (f *contexts) proof(at savedAt) proof {
	p := at.proof()
	for _, name := range []*string{&p.keyFile, &p.own.Cert, &p.own.Key, &p.own.CA} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(filepath.Dir(f.path), *name)
		}
	}
	return p
}

// save replaces the file as a whole.
func (f *contexts) save() (err error) {
	if f.path == "" {
		return hinted{errors.New("write contexts: neither $FLIP_CONTEXTS nor $HOME says where"), "set FLIP_CONTEXTS to a file's name"}
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(f.path), ".contexts-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("write contexts: %w", err)
	}
	_, err = temp.Write(append(data, '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("write contexts: %w", err)
	}
	return nil
}
