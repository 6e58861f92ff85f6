package config

import (
	"net/netip"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// mostVoters without roles: a file with more of them must say which vote.
const mostVoters = 7

// servers reads the members; what is wrong with one does not hide the others.
func (p *parser) servers(top object, sys *systems) map[fsm.MemberID]fsm.Server {
	v, f := top.get("servers")
	out := map[fsm.MemberID]fsm.Server{}
	switch {
	case !f.set && p.joining:
		return out
	case !f.set:
		p.missing(f, "the members by name")
		return out
	case v.kind != kindObject:
		p.wrong(v, f, "an object", "")
		return out
	case len(v.members) == 0:
		p.fail(v.at, f.key, "", "names no server")
		return out
	}
	seen := map[netip.AddrPort]string{}
	for _, m := range v.members {
		if !p.name(m, "servers.", "server", fsm.InServerName) {
			continue
		}
		o := p.object(m.value, "servers."+m.name+".", levelServer)
		s := fsm.Server{Name: fsm.MemberID(m.name)}
		s.Addr = p.address(o, m, seen)
		s.Systems = p.serves(o, sys)
		s.Role = p.role(o, &s)
		if n, prio := o.integer("priority", -1_000_000, 1_000_000); prio.good {
			s.Priority, s.HasPriority = int(n), true
		}
		p.share(o, &s)
		out[s.Name] = s
	}
	p.voters(v, f, out)
	p.loopback(f, out)
	p.zones(f, out)
	return out
}

// address reads ip and port; two servers cannot have the same.
func (p *parser) address(o object, m member, seen map[netip.AddrPort]string) string {
	text, ipField := o.text("ip")
	port, portField := o.integer("port", 1, 65535)
	if !ipField.set && o.is {
		p.missing(ipField, "the IP address that the others reach it at")
	}
	if !portField.set && o.is {
		p.missing(portField, "for TCP and UDP")
	}
	if !ipField.good {
		return ""
	}
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		p.fail(ipField.at, ipField.key, "", "%s is no IP address", quote(text))
		return ""
	case ip.IsUnspecified() || ip.IsMulticast():
		p.fail(ipField.at, ipField.key, "name the one that the others reach it at", "%s is no address of a single host", text)
		return ""
	case !portField.good:
		return ""
	}
	addr := netip.AddrPortFrom(ip.Unmap(), uint16(port))
	if other, taken := seen[addr]; taken {
		p.fail(portField.at, portField.key, "", "%s is the address of servers.%s too", addr, other)
		return ""
	}
	seen[addr] = m.name
	return addr.String()
}

// serves reads the systems of a server: a list, or one name.
func (p *parser) serves(o object, sys *systems) []fsm.SystemID {
	v, f := o.oneOf("systems", "system")
	if !f.set {
		return nil
	}
	names := []*value{v}
	if v.kind == kindArray {
		names = v.list
	}
	var out []fsm.SystemID
	for _, n := range names {
		name, g := p.text(n, field{at: n.at, keyAt: n.at, key: f.key, set: true})
		switch {
		case !g.good:
		case slices.Contains(out, fsm.SystemID(name)):
			p.fail(n.at, f.key, "", "names %s twice", quote(name))
		case !contains(sys.names, name):
			hint := "cluster.system has none"
			if len(sys.names) > 0 {
				hint = meant(name, sys.names)
			}
			p.fail(n.at, f.key, hint, "there is no system %s", quote(name))
		default:
			out = append(out, fsm.SystemID(name))
		}
	}
	slices.Sort(out)
	return out
}

// role is arbiter for who serves nothing, unless it has no vote; the key may say so, or
// the opposite.
func (p *parser) role(o object, s *fsm.Server) fsm.Role {
	natural := fsm.RoleVoter
	if len(s.Systems) == 0 {
		natural = fsm.RoleArbiter
	}
	word, f := o.text("role")
	words := []string{"voter", "arbiter", "agent"}
	switch {
	case !f.good || word == "voter":
	case word == "agent":
		return fsm.RoleAgent
	case !contains(words, word):
		p.fail(f.at, f.key, meant(word, words), "%s is unknown", quote(word))
	case len(s.Systems) > 0: // word == "arbiter"
		p.fail(f.at, f.key, "an arbiter votes and holds nothing: leave out its systems, or make it a voter",
			"an arbiter serves no system, this one serves %d", len(s.Systems))
	}
	return natural
}

// voters looks at how many vote: too many without a word, or too few to be of use.
func (p *parser) voters(v *value, f field, servers map[fsm.MemberID]fsm.Server) {
	silent := 0
	for _, m := range v.members {
		if m.value.kind == kindObject && !slices.ContainsFunc(m.value.members, func(m member) bool { return m.name == "role" }) {
			silent++
		}
	}
	agents := len(servers) - voting(servers)
	const third = `add an arbiter: a third server without "systems" on any other machine`
	switch n := voting(servers); {
	case len(v.members)-agents > mostVoters && silent > 0:
		p.fail(f.keyAt, f.key, `give every server "role": "voter", "arbiter" or "agent": an agent has no vote and serves its systems like the others`,
			"%d servers, and %d of them without a role: which 3, 5 or 7 vote?", len(v.members), silent)
	case n == 0 && agents > 0:
		p.fail(f.keyAt, f.key, `1, 3 or 5 of them need a vote: leave out their "role"`, "all servers are agents: nobody votes")
	case n == 1 && agents == 0:
		p.note(f.keyAt, f.key, "", "one server: nothing can fail over")
	case n == 1:
		p.note(f.keyAt, f.key, "3 voters bear the loss of one", "one voter: when it is lost, nothing can fail over any more")
	case n == 2 && agents == 0:
		p.note(f.keyAt, f.key, third, "two voters: neither can ever call the other down, so nothing can fail over")
	case n == 2:
		p.note(f.keyAt, f.key, third, "two voters: neither can ever call the other down, and when one is lost, nothing can fail over any more")
	}
}

// voting is how many servers vote.
func voting(servers map[fsm.MemberID]fsm.Server) int {
	n := 0
	for _, s := range servers {
		if s.Votes() {
			n++
		}
	}
	return n
}

// loopback notes servers that the others cannot reach.
func (p *parser) loopback(f field, servers map[fsm.MemberID]fsm.Server) {
	var local []string
	for name, s := range servers {
		if a, err := netip.ParseAddrPort(s.Addr); err == nil && a.Addr().IsLoopback() {
			local = append(local, string(name))
		}
	}
	slices.Sort(local)
	if len(local) > 0 && len(local) < len(servers) {
		p.note(f.keyAt, f.key, "", "%s on a loopback address, which servers of other machines cannot reach: %s",
			plural(len(local), "server"), some(local))
	}
}

// quorum reads how many down votes are wanted: at least the majority.
func (p *parser) quorum(top object, servers map[fsm.MemberID]fsm.Server) int {
	n := voting(servers)
	majority := n/2 + 1
	asked, f := top.integer("quorum", 1, 1<<31)
	if !f.good || n == 0 {
		return majority
	}
	most := max(majority, n-1)
	switch {
	case asked > int64(most):
		p.fail(f.at, f.key, "at most "+plural(most, "vote"),
			"%d votes can never come together: %s, and the lost one has no say", asked, plural(n, "voter"))
	case asked < int64(majority):
		p.note(f.at, f.key, "", "%d is lifted to %d, the majority of %s", asked, majority, plural(n, "voter"))
	default:
		return int(asked)
	}
	return majority
}
