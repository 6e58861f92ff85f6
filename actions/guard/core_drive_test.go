package guard

import "time"

// drive lets all that is begun end well: then the guard comes to an end too.
func (w *world) drive() {
	for range 2000 {
		next := w.stepWell()
		if w.exited {
			return
		}
		if w.alive && w.killed > 0 {
			w.die()
		}
		if w.pipe && !w.alive {
			w.shutPipe()
		}
		for len(w.owed) > 0 {
			a := w.owed[0]
			w.owed = w.owed[1:]
			w.finishWell(a)
		}
		if next != Never {
			w.now = max(w.now, next)
		}
	}
	w.t.Fatalf("the guard never comes to an end: kept %v", w.c.Kept())
}

func (w *world) stepWell() time.Duration {
	for {
		acts, next := w.c.Step(w.now)
		if len(acts) == 0 {
			return next
		}
		for _, a := range acts {
			w.judge(a)
			switch a.Kind {
			case Exit:
				w.exited = true
				return Never
			case Shut, EndRuns, Down:
				w.owed = append(w.owed, a)
			default:
				w.finishWell(a)
			}
		}
	}
}

func (w *world) finishWell(a Act) {
	switch a.Kind {
	case Shut:
		w.shut = true
	case Remove, Down:
		for _, e := range a.Entries {
			w.up[e.ID] = false
		}
	case EndRuns:
		for _, e := range a.Entries {
			triedRuns[e.ID] = true
			if !w.alive && !w.pipe {
				w.flying[e.ID] = false
			}
		}
	case Unlock:
		w.unlocked = true
	case Lock:
		w.unlocked = false
	case Goodbye:
		w.c.Acked(w.now, len(a.Kept))
		return
	case Kill, Look, Exit:
	}
	w.c.Done(w.now, a, nil)
}
