package doctor

import (
	"bufio"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// UnitProperties are what UnitShown wants of `systemctl show`.
var UnitProperties = []string{
	"LoadState", "FragmentPath", "NeedDaemonReload", "Type", "KillMode", "Restart", "WatchdogUSec", "TimeoutStopUSec",
	"CPUSchedulingPolicy", "LimitMEMLOCK", "OOMPolicy", "CapabilityBoundingSet", "User", "RuntimeDirectoryPreserve",
}

// Unit is what systemd knows, or will know, of flip's service.
type Unit struct {
	Path       string
	properties map[string]string // by the names of the unit file
	stale      bool              // systemd has not read it again since it was changed
}

// UnitShown reads the answer of `systemctl show`; false: there is no such unit.
func UnitShown(text string) (Unit, bool) {
	u := Unit{properties: map[string]string{}}
	names := map[string]string{"WatchdogUSec": "WatchdogSec", "TimeoutStopUSec": "TimeoutStopSec"}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			u.properties[or(names[key], key)] = value
		}
	}
	// systemctl gives the number of the policy, a file its name.
	policies := []string{"other", "fifo", "rr", "batch", "", "idle"}
	if n, err := strconv.Atoi(u.properties["CPUSchedulingPolicy"]); err == nil && n >= 0 && n < len(policies) {
		u.properties["CPUSchedulingPolicy"] = policies[n]
	}
	u.Path, u.stale = u.properties["FragmentPath"], u.properties["NeedDaemonReload"] == "yes"
	return u, u.properties["LoadState"] == "loaded"
}

// unitDirs are where systemd looks, first to last: one that is found first hides
// the others, drop-ins of all count.
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// UnitFiles reads a unit and its drop-ins as systemd would; false: there is none.
func UnitFiles(root fs.FS, name string) (Unit, bool) {
	u := Unit{properties: map[string]string{}}
	for _, dir := range unitDirs {
		if data, err := fs.ReadFile(root, path.Join(dir, name)); err == nil {
			u.Path = "/" + path.Join(dir, name)
			u.read(string(data))
			break
		}
	}
	if u.Path == "" {
		return u, false
	}
	dropIns := map[string]string{} // by file name: of two with one name the first directory's counts
	for _, dir := range slices.Backward(unitDirs) {
		files, _ := fs.Glob(root, path.Join(dir, name+".d", "*.conf")) // the pattern is well-formed
		for _, file := range files {
			dropIns[path.Base(file)] = file
		}
	}
	for _, base := range slices.Sorted(maps.Keys(dropIns)) {
		if data, err := fs.ReadFile(root, dropIns[base]); err == nil {
			u.read(string(data))
		}
	}
	return u, true
}

// read takes the section [Service] of a file over what is there.
func (u *Unit) read(text string) {
	section := ""
	sc := bufio.NewScanner(strings.NewReader(strings.ReplaceAll(text, "\\\n", " ")))
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		key, value, ok := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "["):
			section = line
		case section != "[Service]" || !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";"):
		default:
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if before := u.properties[key]; key == "CapabilityBoundingSet" && value != "" && before != "" {
				value = before + " " + value // a list grows; an empty value empties it
			}
			u.properties[key] = value
		}
	}
}

// UnitConfig is what the configuration asks of the unit.
type UnitConfig struct {
	Timing      Timing
	StopTimeout time.Duration // the longest of the systems served here
}

// Judge says what of a unit makes failovers slow or a promise hollow.
func (u Unit) Judge(c UnitConfig) []Finding {
	var well []string
	var out []Finding
	for _, p := range unitRules {
		value := u.properties[p.name]
		verdict, found, do := p.judge(or(value, p.fallback), c)
		if verdict == OK {
			well = append(well, p.name+"="+or(value, p.fallback))
			continue
		}
		if do != "" {
			do += " (systemctl edit flip)"
		}
		out = append(out, Finding{Check: "unit " + p.name, Verdict: verdict, Found: or(value, p.fallback) + ": " + found, Do: do})
	}
	if caps := u.missing(); len(caps) > 0 {
		out = append(out, Finding{
			Check: "unit CapabilityBoundingSet", Verdict: Warn, Found: "lacks " + strings.Join(caps, " ") + ", with which the guard is of use under load",
			Do: "CapabilityBoundingSet=" + strings.Join(caps, " ") + " in a drop-in adds them (systemctl edit flip)",
		})
	}
	if u.stale {
		out = append(out, Finding{Check: "unit", On: u.Path, Verdict: Warn, Found: "it was changed since systemd read it", Do: "systemctl daemon-reload"})
	}
	return append([]Finding{{Check: "unit", On: u.Path, Verdict: OK, Found: or(strings.Join(well, " "), "read")}}, out...)
}

// unitRule judges one property; fallback is systemd's own default.
type unitRule struct {
	name, fallback string
	judge          func(value string, c UnitConfig) (v Verdict, found, do string)
}

var unitRules = []unitRule{
	{"KillMode", "control-group", func(v string, _ UnitConfig) (Verdict, string, string) {
		switch v {
		case "process":
			return OK, "", ""
		case "none":
			return Warn, "a daemon that hangs in its stop is never ended", "KillMode=process"
		default:
			return Bad, "systemd ends the guard with the daemon, and hooks at work: nothing is left that could release", "KillMode=process"
		}
	}},
	{"Restart", "no", func(v string, _ UnitConfig) (Verdict, string, string) {
		switch v {
		case "always", "on-failure":
			return OK, "", ""
		default:
			return Warn, "a daemon that has crashed stays away, and the next failure may not be made good", "Restart=on-failure"
		}
	}},
	{"WatchdogSec", "0", func(v string, _ UnitConfig) (Verdict, string, string) {
		d, ok := Span(v)
		switch {
		case !ok || v == "infinity" || d == 0:
			return Warn, "a daemon that hangs is never ended", "WatchdogSec=10"
		case d < 2*time.Second:
			return Warn, "a moment's hang of the machine ends the daemon", "WatchdogSec=10"
		default:
			return OK, "", ""
		}
	}},
	{"TimeoutStopSec", "90", func(v string, c UnitConfig) (Verdict, string, string) {
		d, ok := Span(v)
		want := 2*c.StopTimeout + 5*time.Second
		if !ok || d >= want || d == 0 { // 0 is for ever
			return OK, "", ""
		}
		return Warn, fmt.Sprintf("a stop may take %s: twice the longest stop_timeout, and 5 s; systemd would kill the daemon in the middle of it", brief(want)),
			fmt.Sprintf("TimeoutStopSec=%d", int(want.Seconds()))
	}},
	{"CPUSchedulingPolicy", "other", func(v string, c UnitConfig) (Verdict, string, string) {
		switch {
		case v == "rr" || v == "fifo":
			return OK, "", ""
		case c.Timing.Short():
			return Warn, "a daemon that waits for a processor behind busy ones loses its lease", "CPUSchedulingPolicy=rr and CPUSchedulingPriority=10"
		default:
			return Note, "on a busy machine heartbeats are late", ""
		}
	}},
	{"OOMPolicy", "stop", func(v string, _ UnitConfig) (Verdict, string, string) {
		switch v {
		case "continue":
			return OK, "", ""
		case "kill":
			return Bad, "when anything in the unit runs out of memory all of it is killed, the guard too", "OOMPolicy=continue"
		default:
			return Warn, "when a hook runs out of memory systemd stops the whole node", "OOMPolicy=continue"
		}
	}},
}

// missing lists the capabilities that the unit takes away from a daemon of root.
func (u Unit) missing() []string {
	set := strings.Fields(strings.ToUpper(u.properties["CapabilityBoundingSet"]))
	if len(set) == 0 {
		return nil // all, or a file that resets the list and says no more
	}
	without := strings.HasPrefix(set[0], "~")
	var out []string
	for _, c := range capabilities {
		named := slices.Contains(set, c.name) || slices.Contains(set, "~"+c.name)
		if c.guard && named == without {
			out = append(out, c.name)
		}
	}
	return out
}

// Span reads a duration as systemd writes it: "2min 10s", "130", "infinity" (an
// hour, which is more than anybody waits).
func Span(text string) (time.Duration, bool) {
	units := map[string]time.Duration{
		"us": time.Microsecond, "ms": time.Millisecond, "": time.Second, "s": time.Second, "sec": time.Second,
		"m": time.Minute, "min": time.Minute, "h": time.Hour, "hr": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	}
	if text == "infinity" {
		return time.Hour, true
	}
	var sum time.Duration
	fields := strings.Fields(text)
	for _, f := range fields {
		end := strings.LastIndexAny(f, "0123456789") + 1
		n, err := strconv.ParseFloat(f[:end], 64)
		unit, known := units[f[end:]]
		if err != nil || !known {
			return 0, false
		}
		sum += time.Duration(n * float64(unit))
	}
	return sum, len(fields) > 0
}

// RealTime reports whether the unit gives the daemon real-time scheduling.
func (u Unit) RealTime() bool {
	p := u.properties["CPUSchedulingPolicy"]
	return p == "rr" || p == "fifo"
}
