package sim

import "slices"

// lock is the data_dir's: whoever has it open keeps a new daemon from starting.
type lock struct {
	holders []any      // daemons, their guards, children between fork and exec
	waiting []*Process // in the order they came
}

func (l *lock) take(who any) { l.holders = append(l.holders, who) }

// leave lets go of one hold; the first that waits starts when it was the last.
func (l *lock) leave(who any) {
	if i := slices.Index(l.holders, who); i >= 0 {
		l.holders = slices.Delete(l.holders, i, i+1)
	}
	for len(l.holders) == 0 && len(l.waiting) > 0 {
		next := l.waiting[0]
		l.waiting = l.waiting[1:]
		if !next.dead {
			next.locked()
		}
	}
}
