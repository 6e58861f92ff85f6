package config

import (
	"fmt"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// describeIP says how a system's addresses are plumbed, watched and announced.
func describeIP(b *strings.Builder, y fsm.System, t fsm.Timing) {
	say := func(format string, args ...any) {
		fmt.Fprintf(b, "%s: "+format+"\n", append([]any{y.Name}, args...)...)
	}
	if y.IP.Interface == "" {
		say("flip plumbs each address on the interface in whose subnet it is")
	} else {
		say("flip plumbs the addresses on %s", y.IP.Interface)
	}
	if y.Guarantee == fsm.AtMostOne {
		say("%s", gateWords(y, t))
	}
	if y.IP.NoProbe {
		say("nobody is asked before an address is plumbed")
	}
	if len(y.IP.Track) > 0 {
		say("held only while %s", strings.Join(each(y.IP.Track, trackWords), " and "))
	}
	if len(y.IP.Notify) > 0 {
		say("told of a takeover: %s", some(each(y.IP.Notify, notifyWords)))
	}
}

func each[T any](list []T, words func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = words(v)
	}
	return out
}

func trackWords(t fsm.Track) string {
	if t.Interface != "" {
		return t.Interface + " is up"
	}
	return "the route " + t.Route + " is there"
}

func notifyWords(n fsm.Notify) string {
	text := n.Hosts
	if n.ARPCache {
		text = "arp-cache"
	}
	if n.Interface != "" {
		text += " by " + n.Interface
	}
	return text
}

// itemWords is an item with what its id does not say of its addresses.
func itemWords(i fsm.Item) string {
	text := string(i.ID)
	if addrs := strings.Join(i.Addrs, " "); len(i.Addrs) > 0 && addrs != text && addrs != text+"/32" && addrs != text+"/128" {
		text += " = " + addrs
	}
	if i.Interface != "" {
		text += " on " + i.Interface
	}
	if i.Weight > 1 {
		text += fmt.Sprintf(" of weight %d", i.Weight)
	}
	if len(i.Prefer) > 0 {
		text += " rather on " + strings.Join(plainStrings(i.Prefer), ", else ")
	}
	return text
}
