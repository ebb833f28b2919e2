package wire

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// kindLog is the first byte of a log frame; others are kept for later kinds.
const kindLog = 1

// logHead is the length of a log frame's fixed part.
const logHead = 1 + 16 + 4 + 8 + 8

// Log is a piece of an attempt's merged output.
type Log struct {
	JobID   JobID
	Attempt int
	Offset  int64     // of the first byte, in the attempt's stream
	Time    time.Time // when the agent read it; to the microsecond
	Data    []byte    // 1 to MaxLogData bytes
}

// AppendLog appends the binary frame to dst.
func AppendLog(dst []byte, l Log) ([]byte, error) {
	id, err := jobBytes(l.JobID)
	if err != nil {
		return dst, err
	}
	switch {
	case l.Attempt < 1 || int64(l.Attempt) > 1<<32-1:
		return dst, errors.New("an attempt is between 1 and 2^32-1")
	case l.Offset < 0:
		return dst, errors.New("an offset is not negative")
	case len(l.Data) == 0 || len(l.Data) > MaxLogData:
		return dst, fmt.Errorf("a log frame holds 1 to %d bytes, not %d", MaxLogData, len(l.Data))
	}
	dst = append(dst, kindLog)
	dst = append(dst, id[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(l.Attempt))
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.Offset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.Time.UnixMicro()))
	return append(dst, l.Data...), nil
}

// DecodeLog reads a binary frame. Data shares memory with frame.
func DecodeLog(frame []byte) (Log, error) {
	switch {
	case len(frame) == 0 || frame[0] != kindLog:
		return Log{}, fmt.Errorf("%w: a binary frame that is no log", ErrUnknownType)
	case len(frame) <= logHead || len(frame) > MaxLog:
		return Log{}, fmt.Errorf("a log frame has %d to %d bytes, not %d", logHead+1, MaxLog, len(frame))
	}
	l := Log{
		JobID:   "job_" + hex.EncodeToString(frame[1:17]),
		Attempt: int(binary.BigEndian.Uint32(frame[17:])),
		Offset:  int64(binary.BigEndian.Uint64(frame[21:])),
		Time:    time.UnixMicro(int64(binary.BigEndian.Uint64(frame[29:]))).UTC(),
		Data:    frame[logHead:],
	}
	if l.Attempt < 1 || l.Offset < 0 || l.Offset > 1<<62 {
		return Log{}, errors.New("a log frame with an impossible attempt or offset")
	}
	return l, nil
}

// jobBytes reads the 16 bytes that a job's id shows in hexadecimal.
func jobBytes(id JobID) (raw [16]byte, err error) {
	digits, found := strings.CutPrefix(id, "job_")
	if !found || len(digits) != 32 || strings.ToLower(digits) != digits {
		return raw, fmt.Errorf("%.40q is no job id", id)
	}
	if _, err = hex.Decode(raw[:], []byte(digits)); err != nil {
		return raw, fmt.Errorf("%.40q is no job id", id)
	}
	return raw, nil
}

// ValidJobID says whether id has the form of a job's id.
func ValidJobID(id string) bool {
	_, err := jobBytes(id)
	return err == nil
}
