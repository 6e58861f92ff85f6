package server

import (
	"context"
	"net/http"
	"time"

	"github.com/flip-ha/flip/api"
)

// DoctorSource says what only the daemon knows of what `flip doctor` looks at. It
// may ask other members: it is called from the request's goroutine.
type DoctorSource interface {
	Doctor(context.Context) api.Doctor
}

// maxTime is above the empty question.
const maxTime = 64

func (l local) doctor(r *http.Request) (any, error) {
	if l.Doctor == nil {
		return nil, &api.Error{
			Code: api.CodeUnavailable, Message: "this is answered on the node's own machine only",
			Hint: "run `flip doctor` there",
		}
	}
	return l.Doctor.Doctor(r.Context()), nil
}

func (m members) time(r *http.Request) (any, error) {
	if _, err := m.identify(r); err != nil {
		return nil, err
	}
	return api.PeerTime{UnixUS: time.Now().UnixMicro()}, nil
}
