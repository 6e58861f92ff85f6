package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/flip-ha/flip/"

// pkg is what the test needs of `go list -json`.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// house lists, for each package, which others of the module it may import
// directly. cmd/flip, sim, deploy and e2e are free.
var house = map[string][]string{
	"fsm":              {},
	"placement":        {"fsm"},
	"liveness":         {"fsm"},
	"config":           {"fsm"},
	"liveness/udp":     {"fsm", "liveness", "secure"},
	"liveness/enroll":  {"fsm", "liveness/wake"},
	"liveness/wake":    {},
	"secure":           {"fsm", "secure/room"},
	"secure/room":      {},
	"raftnode":         {"fsm", "placement", "liveness", "liveness/enroll", "liveness/wake", "secure"},
	"actions":          {"fsm"},
	"actions/ledger":   {"actions", "fsm"},
	"actions/guard":    {"actions", "actions/ledger", "fsm"},
	"actions/programs": {"actions", "fsm"},
	"actions/doctor":   {},
	"actions/gate":     {},
	"actions/netif":    {},
	"actions/wire":     {},
	"actions/ip":       {"actions", "actions/netif", "actions/wire", "fsm"},
	"api":              {"fsm"},
	"api/metrics":      {"fsm", "api"},
	"api/server":       {"fsm", "api", "secure/room"},
	"client":           {"fsm", "api"},
	"client/agent":     {"fsm", "api", "client", "liveness/enroll", "liveness/wake"},
}

var pure = []string{"config", "fsm", "placement", "liveness"}

// bannedDirect may not be imported by a pure package; bannedDeps may not even
// be reached by one.
var (
	bannedDirect = []string{"net", "net/http", "os", "os/exec", "syscall", "math/rand", "math/rand/v2", "hash/maphash", "log"}
	bannedDeps   = []string{
		"github.com/hashicorp/raft", "github.com/vishvananda/netlink", "github.com/rs/zerolog",
		module + "actions", module + "raftnode", module + "secure", module + "liveness/udp", module + "api", module + "client",
	}
)

// violations compares packages with the house; the rule broken stands in each line.
func violations(pkgs []pkg) []string {
	var bad []string
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, ruled := house[name]
		for _, imp := range p.Imports {
			room, inside := strings.CutPrefix(imp, module)
			if ruled && inside && !slices.Contains(allowed, room) {
				bad = append(bad, name+" imports "+room)
			}
			if slices.Contains(pure, name) && slices.Contains(bannedDirect, imp) {
				bad = append(bad, "pure "+name+" imports "+imp)
			}
		}
		for _, dep := range p.Deps {
			if slices.Contains(pure, name) && slices.Contains(bannedDeps, dep) {
				bad = append(bad, "pure "+name+" reaches "+dep)
			}
		}
	}
	return bad
}

func TestArrowsOfTheHouse(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "github.com/flip-ha/flip/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	for name := range house {
		if !slices.ContainsFunc(pkgs, func(p pkg) bool { return p.ImportPath == module+name }) {
			t.Errorf("the house names %s, which does not exist", name)
		}
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
}

func TestHouseFindsViolations(t *testing.T) {
	got := violations([]pkg{
		{ImportPath: module + "fsm", Imports: []string{"os"}, Deps: []string{"github.com/hashicorp/raft"}},
		{ImportPath: module + "placement", Imports: []string{module + "liveness"}},
		{ImportPath: module + "raftnode", Imports: []string{module + "fsm", "net"}},
	})
	want := []string{"pure fsm imports os", "pure fsm reaches github.com/hashicorp/raft", "placement imports liveness"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
