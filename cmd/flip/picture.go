package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
	"github.com/flip-ha/flip/raftnode"
)

// pictureTimeout bounds reading all that is agreed: a million items take some seconds to
// be told and read.
const pictureTimeout = time.Minute

// longEnough is for how long a member is said to have been well of which nothing else is
// known: longer than any system wants.
const longEnough = 10 * 365 * 24 * time.Hour

func stateFlag() cli.Flag {
	return &cli.StringFlag{Name: "state", Usage: "ask nobody: reckon with the `FILE` that GET /v1/state has answered, or with the newest snapshot in a node's data directory", TakesFile: true}
}

// picture is all that is agreed, to reckon with.
type picture struct {
	placement.View
	index fsm.Index
	at    int64  // when what is supposed happens, in Unix milliseconds
	words string // where it comes from
}

// picture reads one, from a daemon or from --state.
func (a *App) picture(c *cli.Context) (picture, error) {
	if file := c.String("state"); file != "" {
		if c.Bool("consistent") {
			return picture{}, &usageError{what: "--consistent asks the leader, --state asks nobody", hint: "give one of them"}
		}
		return readPicture(file)
	}
	cl, err := a.ask(c)
	if err != nil {
		return picture{}, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, pictureTimeout)
	defer cancel()
	s, at, err := cl.State(ctx, c.Bool("consistent"))
	if err != nil {
		return picture{}, err
	}
	p := picture{index: at.Index, words: fmt.Sprintf("as of index %d, %s", at.Index, currency(at.AgeMS))}
	p.View = placement.View{State: s, Now: max(at.TimeMS, newest(s))}
	p.at, p.Well = p.Now, wellIn(s, p.Now)
	return p, founded(s)
}

// founded refuses what nobody has agreed on anything in.
func founded(s *fsm.State) error {
	if s.Spec().Version == 0 {
		return &api.Error{Code: api.CodeUnavailable, Message: "the cluster is not founded yet", Hint: "`flip status` says what it waits for"}
	}
	return nil
}

// newest is the time of the last event in the history; the clock of who is asked may be
// behind it.
func newest(s *fsm.State) (at int64) {
	for _, e := range s.Journal() {
		at = max(at, e.At)
	}
	return at
}

// wellIn is for how long each member has been up, as far as the history tells. The
// leader goes by what it has seen itself, which is no more than that.
func wellIn(s *fsm.State, now int64) map[fsm.MemberID]time.Duration {
	since := map[fsm.MemberID]int64{}
	for _, e := range s.Journal() {
		if e.Kind == fsm.KindRegistered || e.Kind == fsm.KindSettled {
			since[e.Member] = max(since[e.Member], e.At)
		}
	}
	well := map[fsm.MemberID]time.Duration{}
	for id, m := range s.Members() {
		at, told := since[id]
		switch {
		case !m.Up || !m.Settled:
		case told && at > 0:
			well[id] = time.Duration(max(now-at, 0)) * time.Millisecond
		default:
			well[id] = longEnough
		}
	}
	return well
}

// readPicture reads a file, or the newest snapshot of a data directory. It is of some
// time ago: all that runs there has run for long enough by now.
func readPicture(name string) (picture, error) {
	file, err := snapshotIn(name)
	if err != nil {
		return picture{}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return picture{}, fmt.Errorf("read state: %w", err)
	}
	defer func() { _ = f.Close() }()
	s, at, err := readAgreed(bufio.NewReader(f))
	if err != nil {
		return picture{}, hinted{fmt.Errorf("read state from %s: %w", file, err), "it is to be what `curl --unix-socket /run/flip/ID.sock http://flip/v1/state -o FILE` writes, or a node's data directory"}
	}
	p := picture{View: placement.View{State: s}, index: at, at: newest(s) + fsm.RecentFor.Milliseconds(), words: "as " + file + " has it"}
	if at > 0 {
		p.words += fmt.Sprintf(", index %d", at)
	}
	return p, founded(s)
}

// readAgreed reads either form; the index is 0 where the form has none.
func readAgreed(r *bufio.Reader) (*fsm.State, fsm.Index, error) {
	head, err := r.Peek(len(raftnode.SnapshotMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if string(head) == raftnode.SnapshotMagic {
		return raftnode.ReadSnapshot(r)
	}
	s, err := fsm.Read(r)
	return s, 0, err
}

// snapshotIn is the file that is meant by a file or a directory.
func snapshotIn(name string) (string, error) {
	const stateFile = "state.bin" // of hashicorp/raft's file snapshots
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("read state: %w", err)
	case !info.IsDir():
		return name, nil
	}
	var files []string
	for _, pattern := range []string{stateFile, filepath.Join("snapshots", "*", stateFile), filepath.Join("*", stateFile)} {
		found, err := fs.Glob(os.DirFS(name), filepath.ToSlash(pattern))
		if err != nil {
			return "", fmt.Errorf("look for a snapshot in %s: %w", name, err)
		}
		files = append(files, found...)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(filepath.Dir(f), ".tmp") }) // not complete
	if len(files) == 0 {
		return "", hinted{fmt.Errorf("read state: there is no snapshot in %s", name), "a node writes one from time to time, a young cluster has none; that of a running one: curl --unix-socket /run/flip/ID.sock http://flip/v1/state -o FILE"}
	}
	age := func(f string) time.Time {
		info, err := os.Stat(filepath.Join(name, f))
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	return filepath.Join(name, slices.MaxFunc(files, func(x, y string) int { return age(x).Compare(age(y)) })), nil
}
