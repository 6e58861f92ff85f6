// Package config reads the one JSON file of flip: strictly, with all errors at
// once, each with its place, its key and the nearest valid thing.
//
// The package is pure: the caller reads the file and the host name. What comes
// out is the node's own settings, which never enter the log, and an fsm.Spec,
// which seeds the cluster.
package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// File is what Parse understood of a configuration file.
type File struct {
	Path  string
	Node  Node
	Spec  fsm.Spec
	Notes []Problem // accepted, but worth a word
}

// Node is what the file says of the node that reads it; none of it enters the log.
type Node struct {
	ID               fsm.MemberID
	Machine          string // "": the caller finds out (DESIGN.md 2)
	DataDir          string // the base; the caller adds the id, so that one file serves every node
	Key, KeyFile     string // exactly one is set
	LogLevel         string // debug, info, warning, error or fatal
	Socket           string // of the control API
	Metrics          string // host:port that serves /metrics; "": none
	ExitOnStdinClose bool
	TLS              *TLS // nil: the key makes the certificates
}

// TLS names the operator's own certificates, which stand on the servers' TCP port
// in place of those that the key makes.
type TLS struct {
	Cert, Key, CA string   // PEM files
	Operators     []string // whose certificates may control the cluster; "*": all
	AcceptKey     bool     // certificates that the key makes are taken too
}

// Problem is one thing wrong, or worth a word, at one place of the file.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // from 1, in characters
	Key    string `json:"key,omitempty"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
}

// Error is "file:line:column: key: what (hint)".
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems are all errors of one file, by place.
type Problems []Problem

// Error is one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Overrides is what comes from outside the file.
type Overrides struct {
	ID       string // of --id; wins over the file's id
	Hostname string // the last resort for the id
	// Joining: the node takes what its cluster has agreed on from the cluster. The
	// file need not say it: servers and cluster may be missing, and this node among
	// the servers.
	Joining bool
}

// Parse reads a configuration file's bytes; path only names it in messages and
// is where relative paths in it start. The error is Problems, with every error
// that was found; the File is nil then.
func Parse(path string, data []byte, o Overrides) (*File, error) {
	p := &parser{file: path, lines: newLines(data), joining: o.Joining}
	root := p.read(data)
	if root != nil && root.kind != kindObject {
		p.fail(root.at, "", "", "the file must hold an object, not %s", root.describe())
		root = nil
	}
	if root == nil {
		return nil, p.sorted(p.errs)
	}
	f := p.interpret(root, o)
	if len(p.errs) > 0 {
		return nil, p.sorted(p.errs)
	}
	f.Path, f.Notes = path, p.sorted(p.notes)
	return f, nil
}

// interpret turns the tree into a File; it goes on after an error, so that all
// are found.
func (p *parser) interpret(root *value, over Overrides) *File {
	top := p.object(root, "", "")
	var f File
	f.Spec.Timing = p.timing(top)
	cluster := p.object(nil, "", levelCluster)
	if _, there := top.byKey["cluster"]; there || !p.joining {
		cluster = p.child(top, "cluster", levelCluster)
	}
	systems := p.systems(cluster, f.Spec.Timing)
	f.Spec.Servers = p.servers(top, systems)
	f.Spec.Systems = systems.specs()
	f.Spec.Quorum = p.quorum(top, f.Spec.Servers)
	f.Spec.RemoveOnFailure = p.removeOnFailure(top, cluster, systems)
	f.Node = p.node(top, over, f.Spec.Servers)
	p.served(systems, f.Spec.Servers)
	p.placed(systems, f.Spec.Servers)
	p.ownAddresses(&systems.addrs, f.Spec.Servers)
	return &f
}

// parser collects what is wrong while the tree is read.
type parser struct {
	file        string
	lines       lines
	joining     bool
	errs, notes Problems
}

func (p *parser) problem(at int, key, hint, format string, args ...any) Problem {
	line, column := p.lines.at(at)
	if !printable(key) { // it goes to a terminal
		key = strings.Trim(strconv.Quote(key), `"`)
	}
	return Problem{p.file, line, column, key, fmt.Sprintf(format, args...), hint}
}

func (p *parser) fail(at int, key, hint, format string, args ...any) {
	p.errs = append(p.errs, p.problem(at, key, hint, format, args...))
}

func (p *parser) note(at int, key, hint, format string, args ...any) {
	p.notes = append(p.notes, p.problem(at, key, hint, format, args...))
}

func (p *parser) sorted(ps Problems) Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(ps)
}
