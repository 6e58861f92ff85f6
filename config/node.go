package config

import (
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

const (
	defaultDataDir = "/var/lib/flip"
	socketDir      = "/run/flip"
	// weakKey is the length below which a key that people type can be guessed
	// offline from one captured datagram.
	weakKey = 16
)

// node reads what the file says of the node itself.
func (p *parser) node(top object, over Overrides, servers map[fsm.MemberID]fsm.Server) Node {
	n := Node{LogLevel: "info", DataDir: defaultDataDir}
	n.ID = p.id(top, over, servers)
	n.Socket = path.Join(socketDir, string(n.ID)+".sock")
	if machine, f := top.text("machine"); f.good {
		n.Machine = machine
	}
	if dir, f := top.text("data_dir"); f.good {
		n.DataDir = p.beside(dir)
	}
	n.ExitOnStdinClose, _ = top.boolean("exit_on_stdin_close")
	n.Metrics = p.metrics(top, servers[n.ID].Addr)
	p.logLevel(top, &n)
	p.key(top, &n)
	n.TLS = p.tls(top)
	return n
}

// beside resolves a relative path against the file's own directory.
func (p *parser) beside(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(path.Dir(p.file), name)
}

// id takes --id, else the file's id, else the host name, in full or up to its
// first dot; whichever it is must be a server, or, of a node that joins, a name
// that a server can have.
func (p *parser) id(top object, over Overrides, servers map[fsm.MemberID]fsm.Server) fsm.MemberID {
	id, f := top.text("id")
	at, what, hint := f.at, "the id", ""
	switch {
	case over.ID != "":
		id, what = over.ID, "--id"
	case f.set && !f.good:
		return ""
	case !f.set:
		id, what = over.Hostname, "the host name"
		hint = `set "id", or pass --id`
		label, _, _ := strings.Cut(id, ".")
		if _, full := servers[fsm.MemberID(id)]; !full && servers[fsm.MemberID(label)].Name != "" {
			id = label
		}
	}
	v, list := top.get("servers")
	if p.joining {
		if !f.set || over.ID != "" {
			at = top.at
		}
		return p.newcomer(at, what, id, hint)
	}
	if v == nil || v.kind != kindObject || len(v.members) == 0 {
		return fsm.MemberID(id) // reported already
	}
	var names []string
	for _, m := range v.members {
		names = append(names, m.name)
	}
	if contains(names, id) {
		return fsm.MemberID(id)
	}
	if !f.set || over.ID != "" {
		at = list.keyAt
	}
	if near := meant(id, names); hint == "" || nearest(id, names) != "" {
		hint = near
	}
	p.fail(at, "id", hint, "%s %s is not among the servers", what, quote(id))
	return ""
}

// newcomer is the id of a node that its cluster's file need not name.
func (p *parser) newcomer(at int, what, id, hint string) fsm.MemberID {
	if !fsm.GoodServerName(id) {
		p.fail(at, "id", hint, "%s %s cannot be the name of a server: letters, digits and ._- are good, at most %d", what, quote(id), fsm.MaxName)
		return ""
	}
	return fsm.MemberID(id)
}

// metrics reads where /metrics is served on a port of its own; own is the node's
// address among the servers, whose port is taken.
func (p *parser) metrics(top object, own string) string {
	text, f := top.text("metrics")
	if !f.good {
		return ""
	}
	const hint = `"127.0.0.1:9220", or ":9220" for all addresses`
	i := strings.LastIndexByte(text, ':')
	port, err := strconv.ParseUint(text[i+1:], 10, 16)
	if i < 0 || err != nil || port == 0 {
		p.fail(f.at, f.key, hint, "%s has no port from 1 to 65535", quote(text))
		return ""
	}
	host := text[:i]
	addr, err := netip.ParseAddrPort(text)
	switch {
	case host == "", host == "localhost":
	case err != nil && strings.Contains(host, ":"):
		p.fail(f.at, f.key, `an IPv6 address stands in brackets: "[::1]:9220"`, "%s is no address and port", quote(text))
		return ""
	case err != nil:
		p.fail(f.at, f.key, hint, "%s is no IP address", quote(host))
		return ""
	}
	if mine, err := netip.ParseAddrPort(own); err == nil && uint16(port) == mine.Port() &&
		(host == "" || addr.Addr().IsUnspecified() || addr.Addr() == mine.Addr()) {
		p.fail(f.at, f.key, "another port", "%s is taken: this server's own port is %d", quote(text), port)
		return ""
	}
	return text
}

// logLevel takes what Flip took: an unknown level is info.
func (p *parser) logLevel(top object, n *Node) {
	level, f := top.text("log_level")
	if !f.good {
		return
	}
	levels := []string{"debug", "info", "warning", "error", "fatal"}
	if !contains(levels, level) {
		p.note(f.at, f.key, meant(level, levels), "%s is unknown: info is used", quote(level))
		return
	}
	n.LogLevel = level
}

// key reads the shared secret or where it is; its strength is judged here only
// when it stands in the file.
func (p *parser) key(top object, n *Node) {
	secret, k := top.text("key")
	file, f := top.text("key_file")
	switch {
	case k.set && f.set:
		p.fail(f.keyAt, f.key, "keep one of the two", "cannot stand beside key")
	case !k.set && !f.set:
		hint := "`flip keygen` makes a good one"
		if _, own := top.byKey["tls"]; own {
			hint += "; tls has the certificates, the key seals the heartbeats"
		}
		p.missing(k, hint)
	case f.good:
		n.KeyFile = p.beside(file)
	case k.good:
		n.Key = secret
		if why := weak(secret); why != "" {
			p.note(k.at, k.key, "`flip keygen` makes a good one", "the key is weak: %s", why)
		}
	}
}

// weak says why a key can be guessed, or nothing.
func weak(key string) string {
	letters := map[rune]bool{}
	for _, r := range key {
		letters[r] = true
	}
	switch {
	case len(key) < weakKey:
		return "it is shorter than 16 characters"
	case len(letters) < 8: // "aaaaaaaaaaaaaaaa", "1212121212121212"
		return "it repeats a few characters"
	default:
		return ""
	}
}
