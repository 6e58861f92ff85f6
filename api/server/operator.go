package server

import (
	"net"
	"net/http"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
)

// whoChanges lets in whom operator knows, and logs who changes something: what is
// done from elsewhere leaves no shell history on the node.
func whoChanges(h http.Handler, operator func(net.Conn) (string, error), log zerolog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn := connOf(req)
		name, err := operator(conn)
		if err != nil {
			(&router{log: log}).fail(w, req, &api.Error{Code: api.CodeForbidden, Message: "operators only: " + err.Error()})
			return
		}
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			event := log.Info().Str("operator", name).Str("path", req.URL.Path)
			if conn != nil {
				event = event.Stringer("from", conn.RemoteAddr())
			}
			event.Msg("a change is asked for from elsewhere")
		}
		h.ServeHTTP(w, req)
	})
}
