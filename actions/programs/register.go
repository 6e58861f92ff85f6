package programs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/flip-ha/flip/fsm"
)

// Entry is one program that has claimed a system.
type Entry struct {
	System  fsm.SystemID `json:"system"`
	Session string       `json:"session"`
	Name    string       `json:"name,omitempty"`
	ProcessID
}

// file is what the register says.
type file struct {
	Format   string       `json:"flip"` // "programs"
	Boot     string       `json:"boot"`
	Member   fsm.MemberID `json:"member"`
	Programs []Entry      `json:"programs"`
}

const format = "programs"

// maxRegister is far above what programs on one machine can fill.
const maxRegister = 4 << 20

// Register is the file that names the programs which may have anything, in a
// directory that is gone with the boot as they are. It is written before a program is
// told of anything; nil: there is none.
type Register struct {
	path   string
	boot   string
	member fsm.MemberID

	mu      sync.Mutex
	entries []Entry
}

// Former is a program that a former daemon has told of something, and that lives.
type Former struct {
	Entry
	Process Process
}

// OpenRegister takes over the register at path, and answers with the programs of a
// former daemon of this boot that still live.
func OpenRegister(path, boot string, member fsm.MemberID) (*Register, []Former, error) {
	r := &Register{path: path, boot: boot, member: member}
	entries, err := Read(path, boot, member)
	if err != nil {
		return nil, nil, err
	}
	var former []Former
	for _, e := range entries {
		p, err := Open(e.ProcessID)
		if HasEnded(err) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: it may have items of %s", err, e.System)
		}
		r.entries = append(r.entries, e)
		former = append(former, Former{e, p})
	}
	if len(entries) > 0 {
		err = r.write(r.entries)
	}
	return r, former, err
}

// Read reads the programs that a register names; those of another boot or member are
// none. A register that cannot be read is an error: it may name anybody.
func Read(path, boot string, member fsm.MemberID) ([]Entry, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxRegister {
		err = errors.New("it is too long to be one")
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err == nil {
		var f file
		if f, err = parse(data); err == nil {
			if f.Boot != boot || f.Member != member {
				return nil, nil
			}
			return f.Programs, nil
		}
	}
	return nil, fmt.Errorf("read the list of programs %s: %w", path, err)
}

func parse(data []byte) (file, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return file{}, err
	}
	if f.Format != format {
		return file{}, errors.New("this is no list of flip's")
	}
	for _, e := range f.Programs {
		if e.System == "" || e.PID <= 0 {
			return file{}, errors.New("it names a program without a system or a process")
		}
	}
	return f, nil
}

// add names one more program. It is not told of anything before.
func (r *Register) add(e Entry) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entries := append(slices.Clone(r.entries), e)
	if err := r.write(entries); err != nil {
		return err
	}
	r.entries = entries
	return nil
}

// remove takes a claim off. While that cannot be written the file names a program too
// many.
func (r *Register) remove(session string) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = slices.DeleteFunc(slices.Clone(r.entries), func(e Entry) bool { return e.Session == session })
	return r.write(r.entries)
}

// write replaces the file: a reader finds the old one or the new one. What it lists
// does not outlive the kernel, so nothing is synced.
func (r *Register) write(entries []Entry) error {
	data, err := json.Marshal(file{Format: format, Boot: r.boot, Member: r.member, Programs: entries})
	if err != nil {
		return fmt.Errorf("write the list of programs: %w", err)
	}
	temp := r.path + ".new"
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write the list of programs: %w", err)
	}
	if err := os.Rename(temp, r.path); err != nil {
		return fmt.Errorf("write the list of programs: %w", err)
	}
	return nil
}
