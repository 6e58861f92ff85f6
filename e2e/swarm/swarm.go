// Package swarm is what is said between a test and the process that plays agents by
// the hundred: its subfolder agents is that process.
package swarm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

// Config is the first line that the process reads.
type Config struct {
	File   string   `json:"file"`   // flip's own, which names the voters and all agents
	Agents []string `json:"agents"` // whom this process plays
}

// The verbs of an Order.
const (
	Tell   = "tell"   // how all are
	Known  = "known"  // when each has read, since Since, that maintenance is On
	Kill   = "kill"   // ends one Agent as SIGKILL does
	Served = "served" // by whom each was since Since
)

// Order is each further line; an answer comes for each, of the type that its verb
// wants.
type Order struct {
	Do    string    `json:"do"`
	Agent string    `json:"agent,omitempty"`
	Word  bool      `json:"word,omitempty"` // of Kill: its guard lives and says goodbye for it
	Since mono.Time `json:"since,omitempty"`
	On    bool      `json:"on,omitempty"`
	But   string    `json:"but,omitempty"` // of Served: this voter is gone
}

// State answers Tell: all who live, summed up.
type State struct {
	Live    int            `json:"live"`
	Leased  int            `json:"leased"`
	Lapses  int            `json:"lapses"` // leases that have ended, by the dead in their time too
	Epochs  int            `json:"epochs"` // registrations, likewise
	Items   int            `json:"items"`  // held
	Read    [2]uint64      `json:"read"`   // the least and the most of the log that any has read
	Sources map[string]int `json:"sources"`
	// Traffic is of the bytes between all agents and each voter, by its address.
	Traffic map[string]Traffic `json:"traffic"`
	Ill     []string           `json:"ill"` // some who have no lease, or nobody who serves them
}

// Traffic is bytes without the headers of IP, UDP and TCP.
type Traffic struct {
	ToUDP, FromUDP, ToTCP, FromTCP uint64
}

// Sum is all of it.
func (t Traffic) Sum() uint64 { return t.ToUDP + t.FromUDP + t.ToTCP + t.FromTCP }

// Add sums two up.
func (t Traffic) Add(o Traffic) Traffic {
	return Traffic{t.ToUDP + o.ToUDP, t.FromUDP + o.FromUDP, t.ToTCP + o.ToTCP, t.FromTCP + o.FromTCP}
}

// Times answers Known and Served: a moment for each agent that has one.
type Times struct {
	At      []mono.Time `json:"at"`
	Missing []string    `json:"missing"` // who has not come so far
}

// Since is how long after a moment each came so far, the first one first.
func (t Times) Since(from mono.Time) []time.Duration {
	var out []time.Duration
	for _, at := range t.At {
		out = append(out, at.Sub(from))
	}
	slices.Sort(out)
	return out
}

// Killed answers Kill.
type Killed struct {
	At    mono.Time `json:"at"`
	Items []string  `json:"items"` // what it held
}

// Process is such a process at work.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// Start starts the program; it returns once it has a socket for each agent. stderr
// gets what it has to say.
func Start(program string, cfg Config, stderr *os.File) (*Process, error) {
	p := &Process{cmd: exec.Command(program)}
	p.cmd.Stderr = stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := p.cmd.StdinPipe()
	out, err2 := p.cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		return nil, fmt.Errorf("pipes of the swarm: %w", err)
	}
	p.stdin, p.out = stdin, bufio.NewReaderSize(out, 1<<20)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the swarm: %w", err)
	}
	var begun struct{}
	if err := p.exchange(cfg, &begun); err != nil {
		return nil, errors.Join(err, p.End())
	}
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ask gives an order and reads its answer.
func (p *Process) Ask(o Order, answer any) error { return p.exchange(o, answer) }

func (p *Process) exchange(say, hear any) error {
	if err := json.NewEncoder(p.stdin).Encode(say); err != nil {
		return fmt.Errorf("tell the swarm: %w", err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("hear the swarm: %w", err)
	}
	if err := json.Unmarshal(line, hear); err != nil {
		return fmt.Errorf("hear the swarm: %q: %w", line, err)
	}
	return nil
}

// End kills the process and waits for it.
func (p *Process) End() error {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill()
	err := p.cmd.Wait()
	var killed *exec.ExitError
	if errors.As(err, &killed) {
		return nil
	}
	return err
}
