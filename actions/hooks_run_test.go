package actions

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestHookKnowsItsRun(t *testing.T) {
	h := newHookTest(t)
	path := h.script(t, "up", "#!/bin/sh\nenv | grep ^FLIP_RUN= > \"$(dirname \"$0\")/run\"; exit 0\n")
	t.Setenv("FLIP_RUN", "the daemon's own")
	for _, run := range []string{"mine-1", ""} {
		if err := h.Acquire(WithRun(t.Context(), run), hookJob(path)); err != nil {
			t.Fatal(err)
		}
		want := ""
		if run != "" {
			want = "FLIP_RUN=" + run + "\n"
		}
		if got := h.file(t, "run"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A hook of an older decision is not told a token that is older than one that
// hooks have been told.
func TestHookTokenNeverGoesBack(t *testing.T) {
	h := newHookTest(t)
	path := h.script(t, "up", "#!/bin/sh\nenv | grep ^FLIP_TOKEN= > \"$(dirname \"$0\")/token\"\n")
	job := hookJob(path)
	h.cfg.Token = func(k fsm.Key) fsm.Token {
		if k != job.Key {
			t.Errorf("asked for %v", k)
		}
		return 50
	}
	for token, want := range map[fsm.Token]string{42: "50", 50: "50", 51: "51"} {
		job.Token = token
		if err := h.Release(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if got := h.file(t, "token"); got != "FLIP_TOKEN="+want+"\n" {
			t.Errorf("token %d: got %q, want %s", token, got, want)
		}
	}
}

// What leaves the process group of a hook is ended with it all the same, if it
// fails; nothing is if it succeeds.
func TestFailedHookEndsWhatLeftItsGroup(t *testing.T) {
	for _, tc := range []struct {
		name, end string
		lives     bool
	}{
		{"fails", "exit 3", false},
		{"hangs", "echo so far; sleep 1000", false},
		{"succeeds", "exit 0", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHookTest(t)
			r := newRun(t)
			path := h.script(t, "up", "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nmkfifo ready\n"+
				"setsid sh -c 'echo $$ > child; echo > ready; exec sleep 1000' >/dev/null 2>&1 &\nread x < ready\n"+tc.end+"\n")
			ctx, stop := context.WithTimeout(WithRun(t.Context(), r.name), 500*time.Millisecond)
			defer stop()
			err := h.Acquire(ctx, hookJob(path))
			if (err == nil) != tc.lives {
				t.Fatal(err)
			}
			if got := h.alive(t, "child"); got != tc.lives {
				t.Errorf("the child lives: %v, want %v\n%s", got, tc.lives, h.log.String())
			}
			if tc.name == "hangs" {
				// The tree shows it too: its parent lives.
				contains(t, h.log.String(), `"output":["so far"]`)
				if !errors.Is(err, context.DeadlineExceeded) || strings.Count(h.log.String(), "sleep 1000") < 2 {
					t.Errorf("%v\n%s", err, h.log.String())
				}
			}
			r.end(t, time.Second)
		})
	}
}
