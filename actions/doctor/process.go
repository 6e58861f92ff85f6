package doctor

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// process is what /proc tells of one.
type process struct {
	pid              int
	policy, priority int // see sched(7); priority is the real-time one
	nice             int
	caps             uint64 // effective
	locked           uint64 // bytes of addresses whose memory cannot be swapped out
	resident         uint64 // bytes of memory
	uid              int
	cpus             string // it may run on
	oom              int    // oom_score_adj
	limits           map[string]limit
	cgroups          []cgroup
}

type limit struct{ soft, hard string }

// cgroup is one line of /proc/PID/cgroup; version 2 has no controllers.
type cgroup struct {
	controllers []string
	path        string
}

func readProcess(root fs.FS, pid int) (process, error) {
	p := process{pid: pid, limits: map[string]limit{}}
	dir := "proc/" + strconv.Itoa(pid) + "/"
	read := func(name string) (string, error) {
		b, err := fs.ReadFile(root, dir+name)
		return string(b), err
	}
	stat, err := read("stat")
	if err != nil {
		return p, fmt.Errorf("read process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything; field 3 is behind its end.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	field := func(n int) int {
		if n-3 < len(fields) {
			v, _ := strconv.Atoi(fields[n-3])
			return v
		}
		return 0
	}
	p.nice, p.priority, p.policy = field(19), field(40), field(41)
	status, err := read("status")
	if err != nil {
		return p, fmt.Errorf("read process %d: %w", pid, err)
	}
	p.status(status)
	if text, err := read("oom_score_adj"); err == nil {
		p.oom, _ = strconv.Atoi(strings.TrimSpace(text))
	}
	if text, err := read("limits"); err == nil {
		p.limit(text)
	}
	if text, err := read("cgroup"); err == nil {
		p.cgroups = parseCgroups(text)
	}
	return p, nil
}

func (p *process) status(text string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "CapEff":
			p.caps, _ = strconv.ParseUint(value, 16, 64)
		case "VmLck":
			p.locked = kilobytes(value)
		case "VmRSS":
			p.resident = kilobytes(value)
		case "Uid":
			if ids := strings.Fields(value); len(ids) > 1 {
				p.uid, _ = strconv.Atoi(ids[1])
			}
		case "Cpus_allowed_list":
			p.cpus = value
		}
	}
}

func kilobytes(text string) uint64 {
	kb, _ := strconv.ParseUint(strings.TrimSuffix(text, " kB"), 10, 64)
	return kb << 10
}

// limit reads /proc/PID/limits, whose columns have fixed places: names have
// blanks in them.
func (p *process) limit(text string) {
	const name = 26
	for line := range strings.Lines(text) {
		if len(line) > name {
			if f := strings.Fields(line[name:]); len(f) >= 2 {
				p.limits[strings.TrimSpace(line[:name])] = limit{f[0], f[1]}
			}
		}
	}
}

func parseCgroups(text string) []cgroup {
	var all []cgroup
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		c := cgroup{path: parts[2]}
		if parts[1] != "" {
			c.controllers = strings.Split(parts[1], ",")
		}
		all = append(all, c)
	}
	return all
}

// realTime is the priority of a thread that runs before all ordinary ones.
func (p *process) realTime() int {
	if p.policy == 1 || p.policy == schedRR {
		return p.priority
	}
	return 0
}

func (p *process) policyWords() string {
	names := []string{"ordinary (SCHED_OTHER)", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "", "SCHED_IDLE", "SCHED_DEADLINE"}
	name := fmt.Sprintf("policy %d", p.policy)
	if p.policy >= 0 && p.policy < len(names) && names[p.policy] != "" {
		name = names[p.policy]
	}
	switch {
	case p.realTime() > 0:
		name += fmt.Sprintf(", priority %d", p.priority)
	case p.nice != 0:
		name += fmt.Sprintf(", nice %d", p.nice)
	}
	return name
}

// capability is one that flip uses, and for what.
type capability struct {
	bit   uint
	name  string
	use   string
	ip    bool // wanted where flip plumbs addresses
	guard bool // wanted for the guard to be of use under load
}

var capabilities = []capability{
	{12, "CAP_NET_ADMIN", "plumb addresses and build the gate", true, false},
	{13, "CAP_NET_RAW", "announce addresses by ARP and ND", true, false},
	{14, "CAP_IPC_LOCK", "keep the guard's memory from being swapped out", false, true},
	{23, "CAP_SYS_NICE", "run daemon and guard with real-time priority", false, true},
	{24, "CAP_SYS_RESOURCE", "keep the out-of-memory killer from the guard", false, true},
}

func (p *process) can(bit uint) bool { return p.caps>>bit&1 == 1 }

// RealTime is the real-time priority of a process, 0 for none.
func RealTime(root fs.FS, pid int) int {
	p, err := readProcess(root, pid)
	if err != nil {
		return 0
	}
	return p.realTime()
}

// UnitOf is the systemd service that a process belongs to; "" if none.
func UnitOf(root fs.FS, pid int) string {
	p, err := readProcess(root, pid)
	if err != nil {
		return ""
	}
	for _, c := range p.cgroups {
		if c.controllers == nil || slices.Contains(c.controllers, "name=systemd") {
			parts := strings.Split(c.path, "/")
			for _, part := range slices.Backward(parts) {
				if strings.HasSuffix(part, ".service") {
					return part
				}
			}
		}
	}
	return ""
}
