package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

var keyVerbs = []string{"show", "rotate"}

func keyCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "key",
		Usage:     "the cluster's key: show how it is, rotate it while everything runs",
		ArgsUsage: "show | rotate",
		Description: `A new key takes the place of the present one in three phases: all members accept both
and send by the old one; all send by the new one; only the new one counts. Each begins
when every member has done what the one before asks, so one that is down holds it up:
start it, or go on without it. No lease ends for it.

Each member keeps its keys in its data directory from then on, and rewrites its key_file;
a ` + "`key`" + ` in the configuration itself is for you to change. A member or an operator who
still has the old key is refused afterwards, and told why. Whoever has the old key while
the rotation runs can get the new one.

rotate follows what the cluster does, for --wait at most; it goes on by itself.

Examples:
  flip key show
  flip key show --secret                        the key itself; on a member's own machine
  flip key rotate                               to a random key
  flip key rotate --new-key-file NEW            to the one in a file, as flip keygen makes it
  flip key rotate --without n5                  do not wait for n5, which is dead
  flip --address 10.0.0.1:2200 --key-file OLD key rotate --new-key-file NEW`,
		Flags: append(socketFlags(), jsonFlag(), consistentFlag(),
			&cli.BoolFlag{Name: "secret", Usage: "show: print the key itself, and nothing else"},
			&cli.StringFlag{Name: "new-key-file", Usage: "rotate: the new key is in `FILE` (default: a random one)"},
			&cli.StringFlag{Name: "without", Usage: "rotate: go on without these `MEMBERS`, with commas between them"},
			&cli.DurationFlag{Name: "wait", Value: memberWait, Usage: "rotate: follow it for `TIME` at most; 0: not at all"}),
		BashComplete: func(c *cli.Context) {
			if c.NArg() == 0 {
				a.offer(keyVerbs)
			}
		},
		Action: a.key,
	}
}

func (a *App) key(c *cli.Context) error {
	const usage = "flip key show | rotate"
	verb := c.Args().First()
	if !slices.Contains(keyVerbs, verb) {
		what, hint := "flip key: do what?", usage
		if verb != "" {
			what = "flip key does not know " + verb
			if near := api.Nearest(verb, keyVerbs); near != "" {
				hint = fmt.Sprintf("did you mean flip key %s? %s", near, usage)
			}
		}
		return &usageError{what: what, hint: hint}
	}
	if err := atMost(c, 1); err != nil {
		return err
	}
	of := map[string]string{"secret": "show", "consistent": "show", "new-key-file": "rotate", "without": "rotate", "wait": "rotate"}
	for flag, only := range of {
		if c.IsSet(flag) && only != verb {
			return &usageError{what: "flip key " + verb + " does not take --" + flag, hint: "it is for flip key " + only}
		}
	}
	if c.Duration("wait") < 0 {
		return &usageError{what: "--wait cannot be negative", hint: "--wait 2m; --wait 0 does not wait"}
	}
	if verb == "rotate" {
		return a.keyRotate(c)
	}
	return a.keyShow(c)
}

func (a *App) keyShow(c *cli.Context) error {
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, patience(c.Bool("consistent")))
	defer cancel()
	k, err := cl.Key(ctx, c.Bool("secret"), c.Bool("consistent"))
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return printJSON(a.Stdout, k)
	case c.Bool("secret"):
		_, err := fmt.Fprintln(a.Stdout, k.Key)
		return err
	}
	writeKeyState(a.Stdout, a.painter(), k)
	return nil
}

func writeKeyState(w io.Writer, p painter, k api.Key) {
	t := &table{}
	t.add(bold, "key", k.Fingerprint)
	colour := plain
	if k.Phase != 0 {
		colour = yellow
	}
	t.add(colour, "rotation", k.Words)
	if k.Phase != 0 {
		t.add(plain, "from", k.Old)
		t.add(plain, "to", k.New)
		if k.SinceMS > 0 {
			t.add(plain, "since", time.UnixMilli(k.SinceMS).Format("2006-01-02 15:04:05 MST"))
		}
		t.add(plain, "done by", or(joinNames(k.Have), "nobody yet"))
		for i, m := range k.Awaited {
			t.add(yellow, map[bool]string{true: "waits for"}[i == 0], awaitedWords(m))
		}
		if len(k.LeftOut) > 0 {
			t.add(yellow, "without", joinNames(k.LeftOut))
		}
	} else if k.Old != "" {
		t.add(plain, "the last", fmt.Sprintf("%s took the place of %s", k.New, k.Old))
	}
	if k.Trouble != "" {
		t.add(red, "trouble", k.Trouble)
	}
	if k.Stale != "" {
		t.add(yellow, "stale", "the configuration names a key that was rotated away: "+k.Stale)
	}
	t.write(w, p)
}

func awaitedWords(m api.KeyAwaited) string {
	if m.State == api.MemberUp {
		return string(m.Name)
	}
	return fmt.Sprintf("%s, which is %s: start it, or `flip key rotate --without %s`", m.Name, stateWord(m.State), m.Name)
}

func stateWord(state string) string {
	if state == api.MemberNever {
		return "not there yet"
	}
	return state
}

// keyStep is how far a rotation has come, in words.
func keyStep(k api.Key, round fsm.Index) (words string, done bool) {
	switch {
	case k.Round < round:
		return "this node has not read of it yet", false
	case k.Round > round || k.Phase == 0:
		return "", true
	}
	var names []string
	for _, m := range k.Awaited {
		name := string(m.Name)
		if m.State != api.MemberUp {
			name += " (" + stateWord(m.State) + ")"
		}
		names = append(names, name)
	}
	words = "phase " + strconv.Itoa(k.Phase) + " of " + strconv.Itoa(api.KeyPhases)
	if len(names) > 0 {
		words += ": waiting for " + strings.Join(names, ", ")
	}
	return words, false
}

func (a *App) keyRotate(c *cli.Context) error {
	var what api.KeyRotate
	for _, name := range strings.Split(c.String("without"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			what.LeftOut = append(what.LeftOut, fsm.MemberID(name))
		}
	}
	far, err := a.target(c)
	if err != nil {
		return err
	}
	file := c.String("new-key-file")
	if far != nil && file == "" && len(what.LeftOut) == 0 {
		return &usageError{
			what: "from elsewhere the new key has to be in a file: with a random one you would lock yourself out",
			hint: "flip keygen --file NEW, then flip key rotate --new-key-file NEW",
		}
	}
	if file != "" {
		if what.Key, err = readKey(file); err != nil {
			return err
		}
		a.warnMode(file, "the cluster's new key")
	}
	way, err := a.keyWay(c, far, file)
	if err != nil {
		return err
	}
	defer way.close()
	stop, release := interrupted(c.Context)
	defer release()
	ctx, cancel := context.WithTimeout(stop, changeTimeout)
	defer cancel()
	done, err := way.now.RotateKey(ctx, what)
	if err != nil {
		return err
	}
	return a.followRotation(stop, c, way, done, file)
}

// keyWay is the way to a cluster whose key changes meanwhile.
type keyWay struct{ now, next *client.Client }

func (a *App) keyWay(c *cli.Context, far *far, file string) (*keyWay, error) {
	now, err := a.ask(c)
	if err != nil {
		return nil, err
	}
	way := &keyWay{now: now}
	if far != nil && file != "" && far.by.keyFile != "" {
		after := *far
		after.by.keyFile = file
		if way.next, err = a.askFar(&after); err != nil {
			way.close()
			return nil, err
		}
	}
	return way, nil
}

func (w *keyWay) close() {
	w.now.Close()
	if w.next != nil {
		w.next.Close()
	}
}

// key asks how far it is: with the new key once the old one is refused.
func (w *keyWay) key(ctx context.Context) (api.Key, error) {
	k, err := w.now.Key(ctx, false, false)
	if err != nil && w.next != nil && api.CodeOf(err) == api.CodeNoDaemon {
		w.now, w.next = w.next, w.now
		k, err = w.now.Key(ctx, false, false)
	}
	return k, err
}

// followRotation shows how far a rotation has come, until it is done, the time is over,
// or nobody wants to see it any more.
func (a *App) followRotation(stop context.Context, c *cli.Context, way *keyWay, done api.KeyRotated, file string) error {
	quiet := c.Bool("json")
	p := &progress{w: a.Stdout, rewrites: isTerminal(a.Stdout) && a.Env("TERM") != "dumb", quiet: quiet}
	for _, warning := range done.Warnings {
		_, _ = fmt.Fprintln(a.Stderr, "flip: warning: "+warning)
	}
	p.line(fmt.Sprintf("Agreed on at index %d: key %s takes the place of %s.", done.Index, done.New, done.Old))
	limit := c.Duration("wait")
	ctx, cancel := context.WithTimeout(stop, limit)
	defer cancel()
	last, over := done.Key, false
	if limit > 0 {
		last, over = watchRotation(ctx, way, done.Key, p)
		p.end()
	}
	if quiet {
		done.Key = last
		if err := printJSON(a.Stdout, done); err != nil {
			return err
		}
	}
	switch {
	case over:
		p.line(fmt.Sprintf("Done: only key %s counts now.", done.New))
		a.afterRotation(c, last, file)
		return nil
	case limit == 0:
		p.line("The cluster does the rest by itself: `flip key show` says how far it is.")
		return nil
	case stop.Err() != nil:
		_, _ = fmt.Fprintln(a.Stderr, "flip: not watched any more; the cluster goes on by itself")
	default:
		_, _ = fmt.Fprintf(a.Stderr, "flip: not done within %s; the cluster goes on by itself\n", spoken(limit.Milliseconds()))
	}
	_, _ = fmt.Fprintln(a.Stderr, "  flip key show")
	return verdict(exitFailed)
}

// afterRotation says where the old key still stands.
func (a *App) afterRotation(c *cli.Context, last api.Key, file string) {
	if far, err := a.target(c); err == nil && far != nil && file != "" && far.by.keyFile != "" && far.by.keyFile != file {
		a.complain("your "+far.by.keyFile+" has the former key, which does not count any more", "put "+file+" in its place")
	}
	if last.Stale != "" {
		a.complain("this node's configuration names the former key: "+last.Stale, "put the present one there: flip key show --secret")
	}
}

// watchRotation looks again and again, and reports the newest it has seen and whether all
// is done.
func watchRotation(ctx context.Context, way *keyWay, last api.Key, p *progress) (api.Key, bool) {
	round := last.Round
	tick := time.NewTicker(memberLook)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, answerTimeout)
		k, err := way.key(one)
		cancel()
		switch {
		case ctx.Err() != nil:
			return last, false
		case err != nil:
			var known *api.Error
			if errors.As(err, &known) {
				p.step(known.Message)
			} else {
				p.step(err.Error())
			}
		default:
			last = k
			words, over := keyStep(k, round)
			if over {
				return last, true
			}
			p.step(words)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, false
		}
	}
}
