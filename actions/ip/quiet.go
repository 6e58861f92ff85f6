package ip

import "sync"

// quiet keeps what fails again and again from filling the log: a failure is said
// once, and its end.
type quiet struct {
	mu      sync.Mutex
	failing map[string]bool
}

// changed says whether what began or ceased to fail.
func (q *quiet) changed(what string, err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.failing[what] == (err != nil) {
		return false
	}
	if q.failing == nil {
		q.failing = map[string]bool{}
	}
	if err == nil {
		delete(q.failing, what)
	} else {
		q.failing[what] = true
	}
	return true
}

// note logs how something went that is tried again and again, when it begins to
// fail and when it works again.
func (d *Driver) note(what string, err error, failed string) {
	switch changed := d.quiet.changed(what, err); {
	case !changed:
	case err != nil:
		d.cfg.Log.Warn().Err(err).Str("what", what).Msg(failed)
	default:
		d.cfg.Log.Info().Str("what", what).Msg("works again")
	}
}
