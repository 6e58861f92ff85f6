package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func (o *oracle) cleanup(c Cleanup) bool {
	if c.Item != "" && c.System == "" {
		return false
	}
	for k, f := range o.failures {
		if (c.System == "" || c.System == f.System) && (c.Item == "" || c.Item == f.Item) {
			delete(o.failures, k)
		}
	}
	o.unbrake(c)
	return true
}

func (o *oracle) maintain(c Maintain) bool {
	_, in := o.spec.Systems[c.System]
	switch {
	case !c.On:
		delete(o.maintained, c.System)
		return true
	case in || c.System == "":
		o.maintained[c.System] = true
		return true
	default:
		return false
	}
}

func (o *oracle) underMaintenance(id SystemID) bool { return o.maintained[""] || o.maintained[id] }

// entry is what the oracle knows of an entry.
func (o *oracle) entry(k Key, e Entry) oracleEntry {
	for _, have := range o.slots[k].entries {
		if have.Member == e.Member && have.Epoch == e.Epoch && have.Token == e.Token {
			return have
		}
	}
	return oracleEntry{}
}

// bet is how long an entry is waited for.
func (o *oracle) bet(k Key, e Entry) time.Duration {
	sys, have, m := o.spec.Systems[k.System], o.entry(k, e), o.members[e.Member]
	over := !m.Up || (m.Epoch != e.Epoch && m.Settled)
	if !o.slots[k].atMostOne || !e.AtMostOne || e.Gated || e.Void || !over || sys.TakeoverAfter < 0 {
		return 0
	}
	switch {
	case sys.Action == ActionIP && strings.HasPrefix(have.recipe, "ip"):
		return o.betOnKernel(sys)
	case sys.Action != ActionIP && strings.HasPrefix(have.recipe, sys.Action.String()):
		return o.betOnHook(k, sys, have, m)
	default:
		return 0
	}
}

// betOnKernel is LEASES.md's 1.1 x (lifetime + 1.5 s), lifetimes being whole
// seconds.
func (o *oracle) betOnKernel(sys System) time.Duration {
	if sys.Fence != "" && sys.TakeoverAfter == 0 {
		return 0
	}
	lifetime := time.Second
	for lifetime < o.maxTTL+time.Second {
		lifetime += time.Second
	}
	return max(sys.TakeoverAfter, (lifetime+1500*time.Millisecond)*11/10)
}

// betOnHook is what was asked for; at least what is safe for a longer `down` of
// old, if it is safe for the present one.
func (o *oracle) betOnHook(k Key, sys System, have oracleEntry, m Member) time.Duration {
	f, failed := o.failures[failureKey(have.Member, k)]
	runs := m.Up && m.Host.Machine == have.Host.Machine
	if runs || (failed && f.Token == have.Token) {
		return 0
	}
	safe := func(stop time.Duration) time.Duration {
		return (o.spec.Timing.Heartbeat + 5100*time.Millisecond + 2*stop) * 11 / 10
	}
	if sys.TakeoverAfter > 0 && sys.TakeoverAfter >= safe(sys.StopTimeout) {
		return max(sys.TakeoverAfter, safe(have.stop))
	}
	return sys.TakeoverAfter
}

// betOn reports whether others bet on the release of what was acquired so.
func (o *oracle) betOn(k Key, atMostOne bool, action string) bool {
	sys := o.spec.Systems[k.System]
	return atMostOne && sys.TakeoverAfter > 0 && sys.Action != ActionIP && strings.HasPrefix(action, sys.Action.String())
}

// fencings is who is to be switched off, in words.
func (o *oracle) fencings() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(o.spec.Systems)) {
		sys := o.spec.Systems[id]
		if sys.Fence == "" || o.underMaintenance(id) {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(o.members)) {
			m := o.members[name]
			var items []ItemID
			for _, k := range slices.SortedFunc(maps.Keys(o.slots), Key.Compare) {
				s := o.slots[k]
				owner := o.members[s.owner]
				waits := k.System == id && s.atMostOne && s.owner != name && owner.Up && s.acquired != owner.Epoch
				if waits && slices.ContainsFunc(s.entries, func(e oracleEntry) bool {
					return e.Member == name && !e.Void && e.Host.Machine == m.Host.Machine
				}) {
					if !slices.Contains(items, k.Item) {
						items = append(items, k.Item)
					}
				}
			}
			if len(items) > 0 && !m.Up {
				out = append(out, fencingText(Fencing{
					System: id, Member: name, Host: m.Host, UpTo: m.Epoch,
					Command: sys.Fence, Timeout: sys.FenceTimeout, Config: sys.Config, Items: items,
				}))
			}
		}
	}
	return out
}

func fencingText(f Fencing) string { return fmt.Sprintf("%+v", f) }

func fencingTexts(s *State) []string {
	var out []string
	for _, f := range s.Fencings() {
		out = append(out, fencingText(f))
	}
	return out
}
