package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/flip-ha/flip/fsm"
)

// Diff says in words what changes from one Spec to another, in a fixed order;
// nothing when they mean the same. The versions do not count.
func Diff(before, after fsm.Spec) []string {
	d := &differ{}
	d.timing(before.Timing, after.Timing)
	d.change("quorum", strconv.Itoa(before.Quorum), strconv.Itoa(after.Quorum))
	d.change("remove_on_failure", strconv.FormatBool(before.RemoveOnFailure), strconv.FormatBool(after.RemoveOnFailure))
	for _, name := range union(before.Servers, after.Servers) {
		d.server(string(name), before.Servers[name], after.Servers[name])
	}
	for _, name := range union(before.Systems, after.Systems) {
		d.system(string(name), before.Systems[name], after.Systems[name])
	}
	return d.lines
}

type differ struct{ lines []string }

func (d *differ) say(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *differ) change(what, before, after string) {
	if before != after {
		d.say("%s: %s -> %s", what, orNone(before), orNone(after))
	}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func union[K ~string, V any](a, b map[K]V) []K {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (d *differ) timing(a, b fsm.Timing) {
	d.change("timing", a.Preset, b.Preset)
	d.change("heartbeat", short(a.Heartbeat), short(b.Heartbeat))
	d.change("lease", short(a.Lease), short(b.Lease))
	d.change("raft heartbeat", short(a.RaftHeartbeat), short(b.RaftHeartbeat))
	d.change("raft election", short(a.RaftElection), short(b.RaftElection))
	d.change("raft leader lease", short(a.RaftLease), short(b.RaftLease))
}

func (d *differ) server(name string, a, b fsm.Server) {
	what := "server " + name
	switch {
	case a.Name == "":
		d.say("%s: added, %s at %s, serves %s", what, b.Role, b.Addr, orNone(words(b.Systems)))
		return
	case b.Name == "":
		d.say("%s: removed", what)
		return
	}
	d.change(what+": address", a.Addr, b.Addr)
	d.change(what+": role", a.Role.String(), b.Role.String())
	d.change(what+": priority", priority(a), priority(b))
	d.change(what+": weight", strconv.Itoa(a.Share()), strconv.Itoa(b.Share()))
	d.change(what+": capacity", capacity(a), capacity(b))
	d.change(what+": zone", a.Zone, b.Zone)
	d.change(what+": tags", tagWords(a.Tags), tagWords(b.Tags))
	d.change(what+": to be removed", yesNo(a.Removing), yesNo(b.Removing))
	d.set(what+": systems", plainStrings(a.Systems), plainStrings(b.Systems))
}

func plainStrings[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// set says what joined and what left a sorted list.
func (d *differ) set(what string, before, after []string) {
	if added := without(after, before); len(added) > 0 {
		d.say("%s: added %s", what, some(added))
	}
	if removed := without(before, after); len(removed) > 0 {
		d.say("%s: removed %s", what, some(removed))
	}
}

func without(list, other []string) []string {
	var out []string
	for _, s := range list {
		if _, there := slices.BinarySearch(other, s); !there {
			out = append(out, s)
		}
	}
	return out
}

func (d *differ) system(name string, a, b fsm.System) {
	what := "system " + name
	switch {
	case a.Name == "":
		d.say("%s: added, %s, %s, %s", what, b.Split, b.Guarantee, plural(len(b.Items), "item"))
		return
	case b.Name == "":
		d.say("%s: removed, with %s", what, plural(len(a.Items), "item"))
		return
	}
	d.change(what+": type", a.Split.String(), b.Split.String())
	d.change(what+": guarantee", a.Guarantee.String(), b.Guarantee.String())
	d.change(what+": action", a.Action.String(), b.Action.String())
	d.change(what+": alive", a.Alive, b.Alive)
	d.change(what+": down", a.Down, b.Down)
	d.config(what+": config", a.Config, b.Config)
	d.change(what+": start_timeout", short(a.StartTimeout), short(b.StartTimeout))
	d.change(what+": stop_timeout", short(a.StopTimeout), short(b.StopTimeout))
	d.change(what+": delay", short(a.Delay), short(b.Delay))
	d.change(what+": clean_on_start", strconv.FormatBool(a.CleanOnStart), strconv.FormatBool(b.CleanOnStart))
	d.change(what+": takeover_after", takeover(a), takeover(b))
	d.change(what+": fence", a.Fence, b.Fence)
	d.change(what+": fence_timeout", fenceTimeout(a), fenceTimeout(b))
	if a.IP != nil && b.IP != nil {
		d.ip(what, *a.IP, *b.IP)
	}
	d.place(what, a, b)
	d.data(what, a, b)
}

func takeover(s fsm.System) string {
	switch s.TakeoverAfter {
	case 0:
		return ""
	case fsm.NeverTakeOver:
		return "never"
	default:
		return short(s.TakeoverAfter)
	}
}

func fenceTimeout(s fsm.System) string {
	if s.Fence == "" {
		return ""
	}
	return short(s.FenceTimeout)
}

// ip compares how addresses are plumbed; a change of the action says it all.
func (d *differ) ip(what string, a, b fsm.IP) {
	onOff := func(off bool) string { return map[bool]string{true: "off", false: "on"}[off] }
	d.change(what+": interface", a.Interface, b.Interface)
	d.change(what+": gate", onOff(a.NoGate), onOff(b.NoGate))
	d.change(what+": probe", onOff(a.NoProbe), onOff(b.NoProbe))
	d.change(what+": track", some(each(a.Track, trackName)), some(each(b.Track, trackName)))
	d.change(what+": notify", some(each(a.Notify, notifyWords)), some(each(b.Notify, notifyWords)))
}

func trackName(t fsm.Track) string { return t.Interface + t.Route }

// config compares key by key, so that a long config with one change is read at
// a glance; what is no object is compared as a whole.
func (d *differ) config(what string, a, b []byte) {
	var x, y map[string]json.RawMessage
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		d.change(what, string(a), string(b))
		return
	}
	for _, key := range union(x, y) {
		d.change(what+"."+key, string(x[key]), string(y[key]))
	}
}
