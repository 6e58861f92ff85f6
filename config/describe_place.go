package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// said reports whether anything is said of a server that most files say nothing of.
func said(servers map[fsm.MemberID]fsm.Server) bool {
	for _, s := range servers {
		if s.Weight > 1 || s.Capacity > 0 || s.Zone != "" || len(s.Tags) > 0 {
			return true
		}
	}
	return false
}

// share is the weight of a server that may hold anything.
func share(s fsm.Server) string {
	if len(s.Systems) == 0 {
		return "-"
	}
	return strconv.Itoa(s.Share())
}

func capacity(s fsm.Server) string {
	if s.Capacity == 0 {
		return "-"
	}
	return strconv.Itoa(s.Capacity)
}

func tagWords(tags []fsm.Tag) string {
	return strings.Join(each(tags, func(t fsm.Tag) string { return t.Name + "=" + t.Value }), ", ")
}

func describeClient(b *strings.Builder, y fsm.System) {
	late := "the item waits for it"
	if y.KillOnTimeout {
		late = "it is killed"
	}
	fmt.Fprintf(b, "%s: on each member a program that has claimed the system is told what to take and to let go of; has it not let go within %s, %s\n",
		y.Name, short(y.StopTimeout), late)
}

// describePlace says where a system's items are to be, as far as it is not as usual.
func describePlace(b *strings.Builder, y fsm.System) {
	if unplaced(y.Split) != "" {
		return
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(b, "%s: "+format+"\n", append([]any{y.Name}, args...)...)
	}
	if y.Ranks() > 1 {
		say("%d replicas of each item, as far apart as the zones are", y.Ranks())
	}
	if len(y.Select) > 0 {
		say("only on servers with %s", selectWords(y))
	}
	if len(y.With) > 0 {
		say("only where %s is", strings.Join(plainStrings(y.With), " and "))
	}
	if len(y.Apart) > 0 {
		say("never where %s is", strings.Join(plainStrings(y.Apart), " or "))
	}
	switch usual := y.Split == fsm.ChooseOne; {
	case y.Failback > 0:
		say("items go home once their home has been well for %s", short(y.Failback))
	case y.Failback == 0 && usual:
		say("the items go home as soon as their home is ready")
	case y.Failback == fsm.NeverFailback && !usual:
		say("items stay where they are for as long as they can")
	}
	if y.Mature > 0 {
		say("a server that has not been up for %s is given only what no other can have", short(y.Mature))
	}
	if y.RoundMoves > 0 {
		say("at most %s home or for balance, then none for %s", plural(y.RoundMoves, "move"), short(y.RoundEvery))
	}
	if y.NoBrake {
		say("items are moved however many servers are lost (brake off)")
	}
}

// selectWords is "disk=nvme|ssd and gpu", "" for all servers.
func selectWords(y fsm.System) string {
	and := " and "
	if y.SelectAny {
		and = " or "
	}
	return strings.Join(each(y.Select, matchWords), and)
}

func matchWords(m fsm.Match) string {
	if len(m.Values) == 0 {
		return m.Tag
	}
	return m.Tag + "=" + strings.Join(m.Values, "|")
}

// place compares where a system's items are to be.
func (d *differ) place(what string, a, b fsm.System) {
	onOff := func(off bool) string { return map[bool]string{true: "off", false: "on"}[off] }
	keepKill := func(kill bool) string { return map[bool]string{true: "kill", false: "keep"}[kill] }
	d.change(what+": replicas", strconv.Itoa(a.Ranks()), strconv.Itoa(b.Ranks()))
	d.change(what+": partitions", partitionWords(a.Partitions), partitionWords(b.Partitions))
	d.change(what+": select", selectWords(a), selectWords(b))
	d.set(what+": with", plainStrings(a.With), plainStrings(b.With))
	d.set(what+": apart", plainStrings(a.Apart), plainStrings(b.Apart))
	d.change(what+": failback", failbackWord(a.Failback), failbackWord(b.Failback))
	d.change(what+": mature", short(a.Mature), short(b.Mature))
	d.change(what+": round", roundWords(a), roundWords(b))
	d.change(what+": brake", onOff(a.NoBrake), onOff(b.NoBrake))
	d.change(what+": on_timeout", keepKill(a.KillOnTimeout), keepKill(b.KillOnTimeout))
}

func partitionWords(p *fsm.Partitions) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%d by %s", p.Count, p.Hash)
}

func failbackWord(d time.Duration) string {
	switch d {
	case 0:
		return "auto"
	case fsm.NeverFailback:
		return "manual"
	default:
		return short(d)
	}
}

func roundWords(s fsm.System) string {
	if s.RoundMoves == 0 {
		return ""
	}
	return fmt.Sprintf("%d every %s", s.RoundMoves, short(s.RoundEvery))
}
