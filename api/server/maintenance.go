package server

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// maintenanceOf is what is under maintenance, and since when as far as the
// journal knows.
func maintenanceOf(s *fsm.State) []api.Maintenance {
	list := s.Maintenance()
	if len(list) == 0 {
		return nil
	}
	began := map[fsm.SystemID]int64{}
	for _, e := range s.Journal() {
		if e.Kind == fsm.KindMaintained {
			began[e.Key.System] = e.At
		}
	}
	var out []api.Maintenance
	for _, id := range list {
		m := api.Maintenance{System: id, SinceMS: began[id]}
		m.Words = "nothing of " + maintained(id) + " is moved or repaired"
		if m.SinceMS > 0 {
			m.Words += " since " + time.UnixMilli(m.SinceMS).UTC().Format("2006-01-02 15:04:05 UTC")
		}
		out = append(out, m)
	}
	return out
}

func maintained(id fsm.SystemID) string {
	if id == "" {
		return "any system"
	}
	return "system " + string(id)
}

// endIt is the command that ends what keeps a system under maintenance.
func endIt(s *fsm.State, id fsm.SystemID) string {
	if slices.Contains(s.Maintenance(), "") {
		return "`flip maintenance off`"
	}
	return "`flip maintenance off " + word(string(id)) + "`"
}

// maintenanceAlarms say what is left alone, so that nobody forgets it.
func maintenanceAlarms(list []api.Maintenance) []api.Alarm {
	var out []api.Alarm
	for _, m := range list {
		end := "`flip maintenance off`"
		if m.System != "" {
			end = "`flip maintenance off " + word(string(m.System)) + "`"
		}
		out = append(out, api.Alarm{
			Severity: api.Note, What: "maintenance: " + m.Words,
			Do: end + " when the work is done: what was left is done then",
		})
	}
	return out
}
