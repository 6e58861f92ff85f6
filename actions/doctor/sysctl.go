package doctor

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Use is how the configuration uses an interface.
type Use struct {
	Name   string
	V4, V6 bool // families of the addresses that flip plumbs on it
	Shared bool // another interface has an address in one of its subnets
	Many   bool // the host has IPv4 addresses on other interfaces, too
}

// sysctl is one that matters to a failover.
type sysctl struct {
	name  string
	v6    bool
	merge func(all, own int) int // how the kernel puts both together; nil: own only
	judge func(v int, u Use) (v2 Verdict, effect, do string)
}

func larger(all, own int) int { return max(all, own) }

func either(all, own int) int { return min(1, all|own) }

// sysctls in the order in which they are shown. Values are those of the kernel's
// ip-sysctl.rst.
var sysctls = []sysctl{
	{name: "arp_ignore", merge: larger, judge: func(v int, u Use) (Verdict, string, string) {
		switch {
		case v == 8:
			return Bad, "this host answers no ARP request at all: nobody finds an address that it takes over", "set it to 1"
		case v == 2:
			return Warn, "only hosts whose own address is in a subnet of this interface get an answer", "set it to 1"
		case v == 0 && u.Shared:
			return Warn, "another interface in the same subnet answers for the address, too, with a MAC that no announcement names", "set it to 1"
		}
		return OK, "", ""
	}},
	{name: "arp_announce", merge: larger, judge: func(v int, u Use) (Verdict, string, string) {
		if v < 2 && u.Shared {
			return Warn, "this host's own ARP requests may carry the address out of another interface, and point neighbours at its MAC", "set it to 2"
		}
		return OK, "", ""
	}},
	{name: "arp_filter", merge: either, judge: func(v int, u Use) (Verdict, string, string) {
		if v == 1 && u.Many {
			return Note, "it answers only askers to whom its route leads back out of the same interface", ""
		}
		return OK, "", ""
	}},
	{name: "rp_filter", merge: larger, judge: func(v int, u Use) (Verdict, string, string) {
		if v == 1 && u.Many {
			return Warn, "strict: packets to the address whose way back leads out of another interface are dropped", "set it to 2 (loose), unless every client is reached through this interface"
		}
		return OK, "", ""
	}},
	{name: "promote_secondaries", merge: either, judge: func(v int, _ Use) (Verdict, string, string) {
		if v == 0 {
			return Note, "when somebody removes the first address of a subnet its others go, too; flip's own /32 addresses stay; 1 is better", ""
		}
		return OK, "", ""
	}},
	{name: "proxy_arp", merge: either, judge: func(v int, _ Use) (Verdict, string, string) {
		if v == 1 {
			return Warn, "this host answers ARP for whatever it has a route to elsewhere, perhaps for addresses that another member holds", "set it to 0, or make sure that the subnet of the addresses is only here"
		}
		return OK, "", ""
	}},
	{name: "drop_gratuitous_arp", merge: either, judge: func(v int, _ Use) (Verdict, string, string) {
		if v == 1 {
			return Warn, "as a client of the others this host ignores their announcements, and goes on sending to the former holder until its entry is stale", "set it to 0"
		}
		return OK, "", ""
	}},
	{name: "disable_ipv6", v6: true, judge: func(v int, _ Use) (Verdict, string, string) {
		if v == 1 {
			return Bad, "no IPv6 address can be plumbed", "set it to 0, or take the IPv6 addresses out of the file"
		}
		return OK, "", ""
	}},
	{name: "accept_dad", v6: true, judge: func(v int, _ Use) (Verdict, string, string) {
		if v == 2 {
			return Warn, "a duplicate of the link-local address takes all IPv6 off the interface", "set it to 1; flip's own addresses skip this detection, flip asks before it plumbs"
		}
		return OK, "", ""
	}},
	{name: "drop_unsolicited_na", v6: true, merge: larger, judge: func(v int, _ Use) (Verdict, string, string) {
		if v == 1 {
			return Warn, "as a client of the others this host ignores their announcements", "set it to 0"
		}
		return OK, "", ""
	}},
	{name: "optimistic_dad", v6: true, merge: larger, judge: fine},
	{name: "ndisc_notify", v6: true, merge: larger, judge: fine},
}

// fine is for what only helps to read the rest.
func fine(int, Use) (Verdict, string, string) { return OK, "", "" }

// Sysctls judges those of one interface: what is well in one line, the rest in a
// line each.
func Sysctls(root fs.FS, u Use) []Finding {
	var well []string
	var out []Finding
	for _, s := range sysctls {
		family := "ipv4"
		if s.v6 {
			family = "ipv6"
		}
		if s.v6 && !u.V6 || !s.v6 && !u.V4 {
			continue
		}
		value, err := s.value(root, family, u.Name)
		if err != nil {
			continue // older kernels have fewer; what all have is told below
		}
		verdict, effect, do := s.judge(value, u)
		if verdict == OK {
			well = append(well, fmt.Sprintf("%s %d", s.name, value))
			continue
		}
		if do != "" {
			do = fmt.Sprintf("%s: sysctl -w net.%s.conf.%s.%s=N, and in /etc/sysctl.d", do, family, dotted(u.Name), s.name)
			if s.merge != nil {
				do += " (the higher of it and conf.all counts)"
			}
		}
		out = append(out, Finding{
			Check: "sysctl " + s.name, On: u.Name, Verdict: verdict, Do: do,
			Found: fmt.Sprintf("%d: %s", value, effect),
		})
	}
	if len(well) == 0 && len(out) == 0 {
		return []Finding{{Check: "sysctls", On: u.Name, Verdict: Skip, Found: "there is no such interface, or /proc/sys/net does not show it"}}
	}
	if len(well) > 0 {
		out = append([]Finding{{Check: "sysctls", On: u.Name, Verdict: OK, Found: strings.Join(well, ", ")}}, out...)
	}
	return out
}

func (s sysctl) value(root fs.FS, family, iface string) (int, error) {
	own, err := readNumber(root, "proc/sys/net/"+family+"/conf/"+iface+"/"+s.name)
	if err != nil {
		return 0, err
	}
	if s.merge == nil {
		return int(own), nil
	}
	all, err := readNumber(root, "proc/sys/net/"+family+"/conf/all/"+s.name)
	if err != nil {
		return int(own), nil // there is no such thing as all for it
	}
	return s.merge(int(all), int(own)), nil
}

// dotted is an interface as sysctl(8) wants it: a dot in its name is a slash there.
func dotted(name string) string { return strings.ReplaceAll(name, ".", "/") }

// Nonlocal tells whether services can listen on an address that is not here yet.
func Nonlocal(root fs.FS, v4, v6 bool) []Finding {
	var out []Finding
	for _, family := range []string{"ipv4", "ipv6"} {
		if family == "ipv4" && !v4 || family == "ipv6" && !v6 {
			continue
		}
		value, err := readNumber(root, "proc/sys/net/"+family+"/ip_nonlocal_bind")
		if err != nil {
			continue
		}
		f := Finding{Check: "sysctl ip_nonlocal_bind", On: family, Verdict: OK, Found: strconv.FormatInt(value, 10)}
		if value == 0 {
			f.Verdict = Note
			f.Found += ": a service that listens on a virtual address itself starts only where the address is; with 1 it can be up everywhere beforehand"
		}
		out = append(out, f)
	}
	return out
}
