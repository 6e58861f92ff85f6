package api

import "github.com/flip-ha/flip/fsm"

// PathDoctor is on the unix socket: what only the daemon knows of what
// `flip doctor` looks at. It asks every other member, so it takes a moment.
const PathDoctor = "/v1/doctor"

// PathTime is on the members-only port: a member says what its wall clock shows.
const PathTime = "/v1/peer/time"

// Doctor is a daemon's answer to `flip doctor`.
type Doctor struct {
	Stamp
	ID         fsm.MemberID `json:"id"`
	PID        int          `json:"pid"`
	File       string       `json:"file"`
	DataDir    string       `json:"data_dir"`
	GOMAXPROCS int          `json:"gomaxprocs"`
	Timing     Timing       `json:"timing"`
	Gate       Gate         `json:"gate"`
	Guard      *DoctorGuard `json:"guard,omitempty"` // absent: it has none
	Peers      []DoctorPeer `json:"peers"`
}

// DoctorGuard is the process that releases what a daemon holds that cannot.
type DoctorGuard struct {
	PID      int    `json:"pid"` // 0: none runs, Why says why
	Restarts int    `json:"restarts"`
	Why      string `json:"why,omitempty"`
	List     string `json:"list,omitempty"` // the file that lists what is held
}

// DoctorPeer is another member as the daemon finds it; what is absent it does not
// know.
type DoctorPeer struct {
	Name          fsm.MemberID `json:"name"`
	Address       string       `json:"address"`
	TCP           Finding      `json:"tcp"`
	UDP           Finding      `json:"udp"`
	RoundTripUS   *int64       `json:"round_trip_us,omitempty"` // of heartbeats, in microseconds
	Loss          *float64     `json:"loss,omitempty"`          // of heartbeats that it did not answer, from 0 to 1
	LossFrom      *float64     `json:"loss_from,omitempty"`     // of its heartbeats that did not arrive here
	ClockUS       *int64       `json:"clock_us,omitempty"`      // by how much its wall clock is ahead of this node's …
	ClockWithinUS int64        `json:"clock_within_us,omitempty"`
	ClockError    string       `json:"clock_error,omitempty"` // … or why it did not say
}

// PeerTime is what a member's wall clock showed when it was asked.
type PeerTime struct {
	UnixUS int64 `json:"unix_us"`
}
