package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// version is the format's: it changes when an older program would misread a
// newer file. A field that may be missing needs no other version.
const version = 1

// header is the first line.
type header struct {
	Format  string `json:"flip"` // "list"
	Version int    `json:"version"`
	Identity
	Last uint64 `json:"last"` // the largest ID ever given so far
}

const format = "list"

// line is any other: an entry with its job is new, or replaces the one with its
// ID; one without changes phase and run alone.
type line struct {
	ID    uint64 `json:"id,omitempty"`
	Phase Phase  `json:"phase,omitempty"`
	Run   string `json:"run,omitempty"`
	Job   *job   `json:"job,omitempty"`

	Drop uint64 `json:"drop,omitempty"`

	// Given is a token that hooks of a slot were given, of which nothing else in
	// the file tells.
	Given fsm.Token `json:"given,omitempty"`
	To    *key      `json:"to,omitempty"`
}

type key struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank,omitempty"`
}

// job is what the list keeps of an fsm.Job.
type job struct {
	key
	Token       fsm.Token     `json:"token,omitempty"`
	AtMostOne   bool          `json:"at_most_one,omitempty"`
	Gated       bool          `json:"gated,omitempty"`
	Bet         bool          `json:"bet,omitempty"`
	Action      fsm.Action    `json:"action,omitempty"`
	Alive       string        `json:"alive,omitempty"`
	Down        string        `json:"down,omitempty"`
	Config      []byte        `json:"config,omitempty"` // in base64: its bytes are compared
	Addrs       []string      `json:"addrs,omitempty"`
	Interface   string        `json:"interface,omitempty"`
	IP          *ip           `json:"ip,omitempty"`
	StopTimeout time.Duration `json:"stop_timeout,omitempty"`
	Kill        bool          `json:"kill,omitempty"` // KillOnTimeout
	Previous    fsm.MemberID  `json:"previous,omitempty"`
}

type ip struct {
	Interface string `json:"interface,omitempty"`
	NoGate    bool   `json:"no_gate,omitempty"`
	NoProbe   bool   `json:"no_probe,omitempty"`
}

// trim leaves of a job what the list keeps: what is read back from the file is
// the same again.
func trim(j *fsm.Job) fsm.Job {
	out := fsm.Job{
		Key: j.Key, Token: j.Token, AtMostOne: j.AtMostOne, Gated: j.Gated, Bet: j.Bet, Action: j.Action,
		Alive: j.Alive, Down: j.Down, Config: j.Config, Addrs: j.Addrs, Interface: j.Interface,
		StopTimeout: j.StopTimeout, KillOnTimeout: j.KillOnTimeout, Previous: j.Previous,
	}
	if j.IP != nil {
		out.IP = &fsm.IP{Interface: j.IP.Interface, NoGate: j.IP.NoGate, NoProbe: j.IP.NoProbe}
	}
	return out
}

// encode writes the job of a line.
func encode(j *fsm.Job) ([]byte, error) {
	w := job{
		key: keyOf(j.Key), Token: j.Token, AtMostOne: j.AtMostOne, Gated: j.Gated, Bet: j.Bet, Action: j.Action,
		Alive: j.Alive, Down: j.Down, Config: j.Config, Addrs: j.Addrs, Interface: j.Interface,
		StopTimeout: j.StopTimeout, Kill: j.KillOnTimeout, Previous: j.Previous,
	}
	if j.IP != nil {
		w.IP = &ip{Interface: j.IP.Interface, NoGate: j.IP.NoGate, NoProbe: j.IP.NoProbe}
	}
	return json.Marshal(w)
}

func (w *job) decode() fsm.Job {
	j := fsm.Job{
		Key: w.fsm(), Token: w.Token, AtMostOne: w.AtMostOne, Gated: w.Gated, Bet: w.Bet, Action: w.Action,
		Alive: w.Alive, Down: w.Down, Config: w.Config, Addrs: w.Addrs, Interface: w.Interface,
		StopTimeout: w.StopTimeout, KillOnTimeout: w.Kill, Previous: w.Previous,
	}
	if w.IP != nil {
		j.IP = &fsm.IP{Interface: w.IP.Interface, NoGate: w.IP.NoGate, NoProbe: w.IP.NoProbe}
	}
	return j
}

func keyOf(k fsm.Key) key { return key{System: k.System, Item: k.Item, Rank: k.Rank} }

func (k *key) fsm() fsm.Key { return fsm.Key{System: k.System, Item: k.Item, Rank: k.Rank} }

// appendEntry appends an entry's line; without a job it changes the phase alone.
// Runs and phases are this package's own words, which need no escapes.
func appendEntry(b []byte, e *Entry, job []byte) []byte {
	b = fmt.Appendf(b, `{"id":%d,"phase":"%s"`, e.ID, e.Phase)
	if e.Run != "" {
		b = append(append(append(b, `,"run":"`...), e.Run...), '"')
	}
	if job != nil {
		b = append(append(b, `,"job":`...), job...)
	}
	return append(b, "}\n"...)
}

func appendDrop(b []byte, id uint64) []byte { return fmt.Appendf(b, "{\"drop\":%d}\n", id) }

// content is what a file says.
type content struct {
	Identity
	last    uint64
	entries map[uint64]Entry
	given   map[fsm.Key]fsm.Token
	lines   int
	damaged []error
}

var errNoList = errors.New("this is no list of flip's")

// parse reads a file. A last line without its end was never written whole, so
// that what it speaks of was not begun.
func parse(data []byte) (*content, error) {
	first, rest, whole := bytes.Cut(data, []byte{'\n'})
	var h header
	if err := json.Unmarshal(first, &h); err != nil || !whole || h.Format != format {
		return nil, errNoList
	}
	if h.Version != version {
		return nil, fmt.Errorf("its format is version %d, this program knows %d", h.Version, version)
	}
	c := &content{Identity: h.Identity, last: h.Last, entries: map[uint64]Entry{}, given: map[fsm.Key]fsm.Token{}, lines: 1}
	for {
		text, after, whole := bytes.Cut(rest, []byte{'\n'})
		if !whole {
			return c, nil
		}
		rest = after
		c.lines++
		var l line
		err := json.Unmarshal(text, &l)
		if err == nil {
			err = c.take(&l)
		}
		if err != nil {
			c.damaged = append(c.damaged, fmt.Errorf("line %d: %w", c.lines, err))
		}
	}
}

func (c *content) take(l *line) error {
	switch {
	case l.To != nil:
		c.give(l.To.fsm(), l.Given)
		return nil
	case l.Drop != 0:
		if _, known := c.entries[l.Drop]; !known {
			return fmt.Errorf("drops %d, which is not listed", l.Drop)
		}
		delete(c.entries, l.Drop)
		return nil
	case l.ID == 0:
		return errors.New("says nothing")
	case l.Phase != Starting && l.Phase != Up && l.Phase != Stopping:
		return fmt.Errorf("unknown phase %q", l.Phase)
	case strings.Trim(l.Run, "0123456789abcdef-") != "":
		return fmt.Errorf("no run is named %q", l.Run)
	}
	c.last = max(c.last, l.ID)
	e, known := c.entries[l.ID]
	switch {
	case l.Job != nil:
		e.Job = l.Job.decode()
		if e.Job.Action == fsm.ActionHooks {
			c.give(e.Job.Key, e.Job.Token)
		}
	case !known:
		return fmt.Errorf("changes %d, which is not listed", l.ID)
	}
	e.ID, e.Phase, e.Run = l.ID, l.Phase, l.Run
	c.entries[l.ID] = e
	return nil
}

func (c *content) give(k fsm.Key, t fsm.Token) { c.given[k] = max(c.given[k], t) }
