package actions

import (
	"bytes"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// way is what is known of one way to let go of a slot's item. The `down` of one
// way says nothing of what was brought up by hooks of another: an entry of the
// log is let go of by the way of its own time.
type way struct {
	action fsm.Action
	down   string
	config []byte
	addrs  []string

	// truth is unknown, down once its `down` has succeeded and nothing was
	// started since, or spoiled from the start of an acquire on.
	truth truth
	// gone: entries of this way up to this token are let go of although something
	// newer is up, or on its way.
	gone fsm.Token
}

func (w *way) of(j *fsm.Job) bool {
	return w.action == j.Action && w.down == j.Down && bytes.Equal(w.config, j.Config) && slices.Equal(w.addrs, j.Addrs)
}

// SameWay says whether letting go by one job lets go of the other.
func SameWay(a, b *fsm.Job) bool {
	return a.Action == b.Action && a.Down == b.Down && bytes.Equal(a.Config, b.Config) && slices.Equal(a.Addrs, b.Addrs)
}

// knows finds what is known of a job's way; nil if nothing was done by it yet.
func (s *slot) knows(j *fsm.Job) *way {
	for i := range s.ways {
		if s.ways[i].of(j) {
			return &s.ways[i]
		}
	}
	return nil
}

// way is the same, made if need be.
func (s *slot) way(j *fsm.Job) *way {
	if w := s.knows(j); w != nil {
		return w
	}
	s.ways = append(s.ways, way{action: j.Action, down: j.Down, config: j.Config, addrs: j.Addrs})
	return &s.ways[len(s.ways)-1]
}

// starting takes note that an acquire begins: if nothing is up, that is so for
// all older entries, whatever comes up now.
func (s *slot) starting(j *fsm.Job) {
	if s.state == down {
		for i := range s.ways {
			if w := &s.ways[i]; w.truth == down {
				w.gone = max(w.gone, before(j.Token))
			}
		}
		if s.tidy() {
			s.gone = max(s.gone, before(j.Token))
		}
	}
	s.way(j).truth = spoiled
}

// counts takes note that what is up counts under the job's token: older entries
// of the same way have become this one.
func (s *slot) counts(j *fsm.Job) {
	w := s.way(j)
	w.gone = max(w.gone, before(j.Token))
}

// tidy says whether everything that this process started has been let go of.
func (s *slot) tidy() bool {
	return !slices.ContainsFunc(s.ways, func(w way) bool { return w.truth == spoiled })
}

// cleared says whether nothing is up that was brought up by the job's hooks.
func (s *slot) cleared(j *fsm.Job) bool {
	w := s.knows(j)
	return s.state == down && w != nil && w.truth == down
}

// gone says whether an entry may be reported as released: its own `down`
// succeeded and nothing was started since, or what is up by the same hooks
// counts under a newer token. A token and an epoch of this process's own time
// mean that nobody but this process can have brought it up.
func (c *Core) gone(s *slot, o *fsm.Owed) bool {
	w := s.knows(&o.Job)
	// A replica's token is 0, which is no token that anything was let go of under.
	if w != nil && w.gone != 0 && o.Token <= w.gone || s.cleared(&o.Job) {
		return true
	}
	own := c.first != 0 && o.Epoch >= c.first && fsm.Epoch(o.Token) >= c.first
	// Held on past a decision for other hooks, which nobody here followed.
	if s.state == held && o.Token < s.job.Token && (w == nil && own || w != nil && w.truth == down) {
		return true
	}
	return own && (o.Token <= s.gone || s.state == down && s.tidy())
}

// foreign is the newest entry that is let go of neither yet nor by what is done
// for the job that is wanted; nil if there is none, or not now.
func (c *Core) foreign(s *slot) *fsm.Owed {
	for i := len(s.owe) - 1; i >= 0; i-- {
		o := &s.owe[i]
		if c.gone(s, o) || s.want != nil && !s.want.Keep && SameWay(&o.Job, s.want) {
			continue
		}
		if o.AtMostOne || c.trusted() {
			return o
		}
	}
	return nil
}
