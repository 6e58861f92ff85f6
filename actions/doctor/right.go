package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// RightsConfig is what Rights looks at.
type RightsConfig struct {
	PID       int  // the daemon's; 0: none runs
	Self      int  // the process that asks
	Addresses bool // flip plumbs addresses here
	Timing    Timing
}

// Rights judges what the daemon, or one that this user starts, may do.
func Rights(root fs.FS, c RightsConfig) []Finding {
	const check = "capabilities"
	who, pid := "the daemon", c.PID
	if pid == 0 {
		who, pid = "a daemon started from here", c.Self
	}
	p, err := readProcess(root, pid)
	switch {
	case err != nil:
		return []Finding{skip(check, err.Error())}
	case c.PID == 0 && p.uid != 0:
		return []Finding{skip(check, fmt.Sprintf("no daemon runs, and what this user (uid %d) may do it need not: run as root", p.uid))}
	}
	var has []string
	var out []Finding
	for _, cap := range capabilities {
		switch {
		case p.can(cap.bit):
			has = append(has, cap.name)
		case cap.ip && c.Addresses:
			out = append(out, Finding{
				Check: check, On: cap.name, Verdict: Bad, Found: fmt.Sprintf("%s (uid %d) does not have it: it cannot %s", who, p.uid, cap.use),
				Do: grant(p, cap.name),
			})
		case cap.guard:
			out = append(out, Finding{
				Check: check, On: cap.name, Verdict: Warn, Found: fmt.Sprintf("%s (uid %d) does not have it: it cannot %s", who, p.uid, cap.use),
				Do: grant(p, cap.name),
			})
		}
	}
	if len(out) == 0 {
		out = []Finding{{Check: check, Verdict: OK, Found: who + " has " + strings.Join(has, ", ")}}
	}
	return append(out, memlock(p, who)...)
}

// grant says how a process comes by a capability.
func grant(p process, name string) string {
	if p.uid == 0 {
		return "root has lost it: leave " + name + " in the CapabilityBoundingSet of its unit, or add it to the container"
	}
	return "run flip as root, or with AmbientCapabilities=" + name + " in its unit"
}

// memlock judges whether the guard can lock its memory: the kernel counts all
// that a process has mapped, which is gigabytes with Go.
func memlock(p process, who string) []Finding {
	soft := p.limits["Max locked memory"].soft
	const ipcLock = 14
	if p.can(ipcLock) || soft == "unlimited" || soft == "" {
		return nil
	}
	return []Finding{{
		Check: "locked memory", Verdict: Warn, Found: fmt.Sprintf("%s may lock %s bytes: the guard can be swapped out when it is needed most", who, soft),
		Do: "set LimitMEMLOCK=infinity in the unit",
	}}
}

// GuardConfig is what the daemon says of its guard.
type GuardConfig struct {
	Known    bool // the daemon has said anything about it
	PID      int  // 0: none runs
	Restarts int
	Why      string // none runs: why, in words
	Priority int    // the daemon's real-time one
	List     string // where the list of what is held is; "": not said
}

// Guard judges the process that releases what the daemon holds if the daemon
// cannot.
func Guard(root fs.FS, c GuardConfig) []Finding {
	const check = "guard"
	switch {
	case !c.Known:
		return []Finding{skip(check, "no daemon that tells of one runs")}
	case c.PID == 0:
		return []Finding{{
			Check: check, Verdict: Bad, Found: "none runs: " + or(c.Why, "the daemon does not say why"),
			Do: "see the daemon's log; until it runs, a daemon that is killed leaves to its return what has no gate",
		}}
	}
	p, err := readProcess(root, c.PID)
	if err != nil {
		return []Finding{skip(check, err.Error())}
	}
	memory := map[bool]string{true: "not locked", false: "locked"}[p.locked == 0]
	f := Finding{Check: check, Verdict: OK, Found: fmt.Sprintf("pid %d, %s, memory %s (%s), OOM score %d", p.pid, p.policyWords(), memory, size(p.resident), p.oom)}
	if c.Restarts > 0 {
		f.Found += fmt.Sprintf(", started anew %d times", c.Restarts)
	}
	var want, do []string
	if c.Priority > 0 && p.realTime() == 0 {
		want, do = append(want, "it has no real-time priority, as the daemon has"), append(do, "leave it CAP_SYS_NICE")
	}
	if p.locked == 0 {
		want, do = append(want, "it can be swapped out"), append(do, "leave it CAP_IPC_LOCK, or set LimitMEMLOCK=infinity")
	}
	if p.oom > -1000 {
		want, do = append(want, "the out-of-memory killer may take it"), append(do, "leave it CAP_SYS_RESOURCE")
	}
	if len(want) > 0 {
		f.Verdict, f.Do = Warn, strings.Join(do, "; ")
		f.Found += ": " + strings.Join(want, "; ")
	}
	out := []Finding{f}
	if c.List != "" {
		out = append(out, writable("list", c.List))
	}
	return out
}

// writable judges a file that must be able to take the next change.
func writable(check, name string) Finding {
	f := Finding{Check: check, On: name, Verdict: OK, Found: "can be written"}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	switch {
	case err == nil:
		_ = file.Close() // nothing was written
	case os.IsPermission(err):
		return Finding{Check: check, On: name, Verdict: Skip, Found: "only its owner can look: run as root"}
	default:
		f.Verdict, f.Found, f.Do = Bad, err.Error(), "nothing is started that is not on the list first: free space there, or restart the daemon"
	}
	return f
}

func size(n uint64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}

// OOM judges how likely the kernel takes the daemon when memory runs out.
func OOM(root fs.FS, pid int) Finding {
	const check = "OOM score"
	if pid == 0 {
		return skip(check, "no daemon runs")
	}
	p, err := readProcess(root, pid)
	if err != nil {
		return skip(check, err.Error())
	}
	f := Finding{Check: check, Verdict: OK, Found: fmt.Sprintf("oom_score_adj of the daemon is %d", p.oom)}
	switch {
	case p.oom > 0:
		f.Verdict, f.Do = Warn, "set OOMScoreAdjust=-900 in its unit: it is killed before others when memory runs out"
	case p.oom == 0:
		f.Verdict = Note
		f.Found += ": the kernel may take it when memory runs out; OOMScoreAdjust=-900 in its unit keeps it"
	}
	return f
}

// KeyFile judges who can read the shared key.
func KeyFile(name string) Finding {
	f := Finding{Check: "key file", On: name, Verdict: OK}
	info, err := os.Stat(name)
	switch {
	case os.IsPermission(err):
		return Finding{Check: f.Check, On: name, Verdict: Skip, Found: "cannot be seen by this user: run as root"}
	case err != nil:
		f.Verdict, f.Found, f.Do = Bad, unwrapPath(err).Error(), "flip keygen > FILE; chmod 0600 FILE; the same on every node"
		return f
	}
	f.Found = "mode " + info.Mode().String() + owner(info)
	if others := info.Mode().Perm() & 0o077; others != 0 {
		f.Verdict, f.Do = Warn, "chmod 0600 "+name
		f.Found += ": others than its owner have access; whoever has the key is a member"
		if others&0o007 != 0 {
			f.Verdict = Bad
		}
	}
	return f
}

// Directory judges who can write in a directory of flip's; private: or read.
func Directory(check, name string, private bool) Finding {
	f := Finding{Check: check, On: name, Verdict: OK}
	info, err := os.Stat(name)
	switch {
	case os.IsNotExist(err):
		f.Verdict, f.Found = Note, "is not there yet: flip makes it"
		return f
	case os.IsPermission(err):
		return Finding{Check: check, On: name, Verdict: Skip, Found: "cannot be seen by this user: run as root"}
	case err != nil:
		f.Verdict, f.Found, f.Do = Bad, unwrapPath(err).Error(), "flip must be able to write there"
		return f
	case !info.IsDir():
		f.Verdict, f.Found, f.Do = Bad, "is no directory", "move it away"
		return f
	}
	f.Found = "mode " + info.Mode().String() + owner(info)
	switch perm := info.Mode().Perm(); {
	case perm&0o022 != 0 && info.Mode()&os.ModeSticky == 0:
		f.Verdict, f.Do = Bad, "chmod go-w "+name
		f.Found += ": others than its owner can replace what flip keeps there"
	case private && perm&0o077 != 0:
		f.Verdict = Note
		f.Found += ": others can read the log there; `chmod 0700` keeps them out"
	}
	return f
}

func owner(info os.FileInfo) string {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf(", uid %d", st.Uid)
	}
	return ""
}
