package actions

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

const (
	// maxLine cuts a line: journald's own default is 48 KiB, a log reader's
	// patience is less.
	maxLine = 4096
	// maxOutput of one hook is logged in all, then only counted.
	maxOutput = 64 << 10
	// lineCost is what a line counts for beside its text: short ones flood a log
	// with their fields.
	lineCost = 64
	// maxTail of the last line becomes part of the error, which the log of the
	// cluster keeps.
	maxTail = 200
	// lastLines are logged again when a hook's time is up: at another level, or far
	// behind in the log, they may be what it hangs on.
	lastLines = 10
)

// output reads what a hook writes, however much, and logs it line by line.
type output struct {
	file *os.File
	log  zerolog.Logger
	done chan struct{} // closed at the end of the output
	once sync.Once

	mu   sync.Mutex
	last [lastLines]string // lines that were not empty, in a ring
	next int

	logged  int // bytes
	dropped int // bytes
}

func newOutput(file *os.File, log zerolog.Logger) *output {
	return &output{file: file, log: log, done: make(chan struct{})}
}

// close makes read return.
func (o *output) close() {
	o.once.Do(func() {
		if err := o.file.Close(); err != nil {
			o.log.Debug().Err(err).Msg("close a hook's output")
		}
	})
}

// read returns at the end of the output: when the last process that holds the
// other end of the pipe has ended, or after close.
func (o *output) read() {
	defer close(o.done)
	defer o.close()
	r := bufio.NewReaderSize(o.file, maxLine)
	for {
		line, err := r.ReadSlice('\n')
		o.line(string(line))
		for errors.Is(err, bufio.ErrBufferFull) { // the rest of a long line
			line, err = r.ReadSlice('\n')
			o.dropped += len(line)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				o.log.Warn().Err(err).Msg("cannot read the hook's output")
			}
			break
		}
	}
	if o.dropped > 0 {
		o.log.Warn().Int("bytes", o.dropped).Msg("the hook wrote more than is logged")
	}
}

func (o *output) line(s string) {
	s = strings.ToValidUTF8(strings.TrimRight(s, "\r\n"), "\uFFFD")
	if strings.TrimSpace(s) == "" {
		return
	}
	o.mu.Lock()
	o.last[o.next%lastLines] = s
	o.next++
	o.mu.Unlock()
	if o.logged+len(s)+lineCost > maxOutput {
		o.dropped += len(s)
		return
	}
	o.logged += len(s) + lineCost
	o.log.Info().Msg(s)
}

// tail is the last line for an error, with what stands before it.
func (o *output) tail() string {
	last := o.recent()
	if len(last) == 0 {
		return ""
	}
	return "; its last output: " + last[len(last)-1]
}

// recent are the last lines, each cut for an error.
func (o *output) recent() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []string
	for i := max(0, o.next-lastLines); i < o.next; i++ {
		all = append(all, short(o.last[i%lastLines]))
	}
	return all
}

func short(s string) string {
	if len(s) > maxTail {
		cut := maxTail
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}
