package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/doctor"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

const (
	// doctorTimeout bounds the daemon's answer: it asks every other member.
	doctorTimeout = 8 * time.Second
	defaultUnit   = "flip.service"
	// unitPriority is what the packaged unit gives the daemon.
	unitPriority = 10
)

// patient is the machine that is looked at, and what is known of its node.
type patient struct {
	root   fs.FS
	name   string       // of the file
	file   *config.File // nil: it cannot be used, and why
	why    error
	paths  paths
	daemon *api.Doctor // nil: none answers, and why
	mute   error
}

// admit finds the daemon, if there is one, and the file.
func (a *App) admit(ctx context.Context, c *cli.Context) (*patient, error) {
	p := &patient{root: os.DirFS(hostRoot()), name: or(c.Args().First(), defaultFile)}
	cl, err := a.askHere(c)
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		return nil, err // several daemons: which?
	case err != nil:
		p.mute = err
	default:
		p.askDaemon(ctx, cl)
		cl.Close()
	}
	id := stringFlag(c, "id")
	if p.daemon != nil {
		id = string(p.daemon.ID)
		if !c.Args().Present() && p.daemon.File != "" {
			p.name = p.daemon.File
		}
	}
	p.file, p.why = a.readAsRun(c, p.name, id)
	if p.file != nil {
		p.paths = a.paths(c, p.name, p.file)
	} else {
		p.paths = paths{data: "/var/lib/flip", socket: filepath.Join(defaultSocketDir, id+socketSuffix)}
	}
	if p.daemon != nil {
		p.paths.data = p.daemon.DataDir
		p.paths.socket = cl.Socket()
	}
	for _, name := range []*string{&p.paths.data, &p.paths.socket} {
		if *name, err = filepath.Abs(*name); err != nil {
			return nil, fmt.Errorf("find %s: %w", *name, err)
		}
	}
	return p, nil
}

func (p *patient) askDaemon(ctx context.Context, cl *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	d, err := cl.Doctor(ctx)
	if err != nil {
		p.mute = err
		return
	}
	p.daemon = &d
}

func (p *patient) self() fsm.MemberID {
	switch {
	case p.daemon != nil:
		return p.daemon.ID
	case p.file != nil:
		return p.file.Node.ID
	default:
		return ""
	}
}

func (p *patient) pid() int {
	if p.daemon == nil {
		return 0
	}
	return p.daemon.PID
}

// timing is the cluster's; without file and daemon it is the default.
func (p *patient) timing() doctor.Timing {
	t, _ := config.Preset("lan")
	if p.file != nil {
		t = p.file.Spec.Timing
	}
	out := doctor.Timing{Heartbeat: t.Heartbeat, Lease: t.Lease}
	if p.daemon != nil && p.daemon.Timing.TTLMS > 0 {
		out.Heartbeat = time.Duration(p.daemon.Timing.HeartbeatMS) * time.Millisecond
		out.Lease = time.Duration(p.daemon.Timing.TTLMS) * time.Millisecond
	}
	return out
}

// systems are those that this node serves.
func (p *patient) systems() []fsm.System {
	if p.file == nil {
		return nil
	}
	var out []fsm.System
	for _, id := range p.file.Spec.Servers[p.self()].Systems {
		out = append(out, p.file.Spec.Systems[id])
	}
	return out
}

// configuration is the file, what it says that was worth a word, and the daemon.
func (p *patient) configuration() []doctor.Finding {
	f := doctor.Finding{Check: "configuration", On: p.name, Verdict: doctor.OK}
	var problems config.Problems
	switch {
	case errors.As(p.why, &problems):
		f.Verdict, f.Found, f.Do = doctor.Bad, problems[0].Error(), "flip check "+p.name+" shows all that is wrong; the rest is looked at with the default timing"
	case p.why != nil:
		f.Verdict, f.Found, f.Do = doctor.Warn, p.why.Error(), "name the file: flip doctor FILE; the rest is looked at with the default timing, and without systems"
	default:
		t := p.timing()
		preset := p.file.Spec.Timing.Preset
		if p.daemon != nil {
			preset = or(p.daemon.Timing.Preset, preset)
		}
		f.Found = fmt.Sprintf("%s as %s: heartbeat %s, lease %s", preset, p.self(), spoken(t.Heartbeat.Milliseconds()), spoken(t.Lease.Milliseconds()))
	}
	out := []doctor.Finding{f, p.daemonFinding()}
	if p.file == nil {
		return out
	}
	for _, n := range p.file.Notes {
		f := doctor.Finding{Check: "configuration", On: n.Key, Verdict: doctor.Note, Found: n.What}
		if weighty(n.Key) {
			f.Verdict, f.Do = doctor.Warn, or(n.Hint, "mend it in the file: "+n.Error())
		}
		out = append(out, f)
	}
	return append(out, p.weakKey()...)
}

func (p *patient) daemonFinding() doctor.Finding {
	f := doctor.Finding{Check: "daemon", Verdict: doctor.OK}
	switch {
	case p.daemon != nil:
		f.Found = fmt.Sprintf("%s answers, pid %d", p.daemon.ID, p.daemon.PID)
	case api.CodeOf(p.mute) == api.CodeNoDaemon:
		f.Verdict, f.Found = doctor.Skip, p.mute.Error()+": what only it knows is left out"
		if denied(p.paths.socket) {
			f.Found += "; only its owner can ask it: run as root"
		}
	case api.CodeOf(p.mute) == api.CodeNotFound:
		f.Verdict, f.Found = doctor.Skip, "it is of an older version, which cannot say more"
	default:
		f.Verdict, f.Found = doctor.Skip, p.mute.Error()
	}
	return f
}

// weighty says which notes of the file are about a promise.
func weighty(key string) bool {
	last := key[strings.LastIndexByte(key, '.')+1:]
	return slices.Contains([]string{"key", "servers", "takeover_after"}, last)
}

// weakKey judges the key that stands in a file of its own; config has judged one
// in the configuration.
func (p *patient) weakKey() []doctor.Finding {
	name := p.file.Node.KeyFile
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil // KeyFile says so
	}
	if reason, weak := secure.Weak(strings.TrimSpace(string(data))); weak {
		return []doctor.Finding{{Check: "key", On: name, Verdict: doctor.Warn, Found: "the shared key " + reason, Do: "`flip keygen` makes a good one; the same on every node"}}
	}
	return nil
}

func (p *patient) disk(ctx context.Context) []doctor.Finding {
	out := []doctor.Finding{doctor.DataFS(p.root, p.paths.data)}
	return append(out, doctor.DiskSync(ctx, p.paths.data, p.timing()))
}

func (p *patient) scheduling(ctx context.Context, unit *doctor.Unit) []doctor.Finding {
	c := doctor.SchedConfig{PID: p.pid(), Self: os.Getpid(), CPUs: runtime.NumCPU(), Timing: p.timing()}
	priority := 0
	switch {
	case p.daemon != nil:
		c.GOMAXPROCS = p.daemon.GOMAXPROCS
		priority = doctor.RealTime(p.root, p.daemon.PID)
	case unit != nil && unit.RealTime():
		priority = unitPriority
	}
	return append(doctor.Scheduling(p.root, c), doctor.WakeUps(ctx, priority, p.timing()), doctor.OOM(p.root, p.pid()))
}

// unit is what systemd will do with the daemon; nil: it does not run it.
func (p *patient) unit(ctx context.Context) (*doctor.Unit, []doctor.Finding) {
	no := func(why string) (*doctor.Unit, []doctor.Finding) {
		return nil, []doctor.Finding{{Check: "unit", Verdict: doctor.Skip, Found: why}}
	}
	if _, err := fs.Stat(p.root, "run/systemd/system"); err != nil {
		return no("systemd does not run this machine")
	}
	name := defaultUnit
	if p.daemon != nil {
		if name = doctor.UnitOf(p.root, p.daemon.PID); name == "" {
			return no("the daemon is not run by systemd")
		}
	}
	unit, ok := doctor.UnitFiles(p.root, name)
	if path, err := exec.LookPath("systemctl"); err == nil {
		shown, err := exec.CommandContext(ctx, path, "show", "--no-pager", "-p", strings.Join(doctor.UnitProperties, ","), name).Output()
		if err == nil {
			unit, ok = doctor.UnitShown(string(shown))
		}
	}
	if !ok {
		return no("there is no " + name)
	}
	c := doctor.UnitConfig{Timing: p.timing()}
	for _, s := range p.systems() {
		c.StopTimeout = max(c.StopTimeout, s.StopTimeout)
	}
	return &unit, unit.Judge(c)
}

func (p *patient) rights() []doctor.Finding {
	addresses := slices.ContainsFunc(p.systems(), func(s fsm.System) bool { return s.Action == fsm.ActionIP })
	out := doctor.Rights(p.root, doctor.RightsConfig{PID: p.pid(), Self: os.Getpid(), Addresses: addresses, Timing: p.timing()})
	if p.file != nil {
		key := p.file.Node.KeyFile
		if key == "" {
			key = p.name
		}
		out = append(out, doctor.KeyFile(key))
		out = append(out, p.certificates()...)
	}
	out = append(out, doctor.Directory("data_dir mode", p.paths.data, true))
	dir := filepath.Dir(p.paths.socket)
	out = append(out, doctor.Directory("socket directory mode", dir, false), doctor.SocketDir(p.root, dir))
	return append(out, p.hooks()...)
}

func (p *patient) hooks() []doctor.Finding {
	var out []doctor.Finding
	for _, s := range p.systems() {
		if s.Action != fsm.ActionHooks {
			continue
		}
		var commands []string
		for _, c := range []string{s.Alive, s.Down, s.Fence} {
			if c != "" {
				commands = append(commands, c)
			}
		}
		errs := actions.Check(commands...)
		for _, err := range errs {
			out = append(out, doctor.Finding{Check: "hooks", On: string(s.Name), Verdict: doctor.Bad, Found: err.Error(), Do: "put it right: this node cannot take over anything of " + string(s.Name)})
		}
		if len(errs) == 0 {
			out = append(out, doctor.Finding{Check: "hooks", On: string(s.Name), Verdict: doctor.OK, Found: strings.Join(commands, ", ") + " can be started, by this user with this PATH"})
		}
	}
	return out
}

func (p *patient) guard() []doctor.Finding {
	c := doctor.GuardConfig{Known: p.daemon != nil && p.daemon.Guard != nil}
	if c.Known {
		g := p.daemon.Guard
		c.PID, c.Restarts, c.Why, c.List = g.PID, g.Restarts, g.Why, g.List
		c.Priority = doctor.RealTime(p.root, p.daemon.PID)
	}
	return doctor.Guard(p.root, c)
}

// denied reports whether there is a socket that this user may not open.
func denied(socket string) bool {
	err := unix.Access(socket, unix.R_OK|unix.W_OK)
	return errors.Is(err, unix.EACCES)
}
