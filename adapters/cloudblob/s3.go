package cloudblob

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

const (
	// largestS3 is what S3 takes in one upload: 5 GiB (Amazon S3 user guide, "Uploading
	// objects").
	largestS3 = 5 << 30
	// longestS3 is how long a signature of version 4 may be good.
	longestS3 = 7 * 24 * time.Hour
	// dialS3 and answerS3 are how long a connection may take, and after everything was sent
	// the beginning of an answer. Each request is made at most triesS3 times.
	dialS3   = 5 * time.Second
	answerS3 = 10 * time.Second
	triesS3  = 2
	// defaultRegion is what servers other than Amazon's sign with, unless told.
	defaultRegion = "us-east-1"
)

// objects keeps objects at an object storage. It checks the sha256 of an upload itself,
// ours and a client's by a signed link, keeps it with the object and tells it: nothing is
// written beside an object, and several servers may use the bucket.
type objects struct {
	bucket  string
	client  *s3.Client
	presign *s3.PresignClient
	clock   ports.Clock
}

// openS3 opens s3://bucket. The parameters are those of gocloud.dev (region, profile, role
// and others) and
//
//   - endpoint: the URL of a server that is not Amazon's; then use_path_style is true
//     unless it says false, and the region us-east-1 unless it is given;
//   - public_endpoint: the URL at which renters and hosts reach it, where that is another
//     than the one for this server;
//   - create_bucket=true: make the bucket when it is not there.
func openS3(ctx context.Context, u *url.URL, options Options) (*Store, error) {
	q := u.Query()
	take := func(name string) string {
		defer q.Del(name)
		return q.Get(name)
	}
	endpoint, public := take("endpoint"), take("public_endpoint")
	for name, e := range map[string]string{"endpoint": endpoint, "public_endpoint": public} {
		if parsed, err := url.Parse(e); e != "" && (err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https")) {
			return nil, fmt.Errorf("the parameter %s is a URL such as https://s3.example.com", name)
		}
	}
	pathStyle, err := strconv.ParseBool(cmp.Or(take("use_path_style"), strconv.FormatBool(endpoint != "")))
	if err != nil {
		return nil, errors.New("the parameter use_path_style is true or false")
	}
	create, err := strconv.ParseBool(cmp.Or(take("create_bucket"), "false"))
	if err != nil {
		return nil, errors.New("the parameter create_bucket is true or false")
	}
	config, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("the parameters of the bucket: %w", err)
	}
	config.RetryMaxAttempts = triesS3
	config.HTTPClient = awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialS3 }).WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = answerS3
		t.MaxIdleConnsPerHost = 64 // each archived log and each confirmed result asks
	})
	if options.AccessKey != "" {
		config.Credentials = credentials.NewStaticCredentialsProvider(options.AccessKey, options.SecretKey, "")
	}
	if config.Region == "" && endpoint != "" {
		config.Region = defaultRegion
	}
	if config.Region == "" {
		return nil, errors.New("in which region is the bucket? Add region=… to the URL, or set AWS_REGION")
	}
	at := func(endpoint string) *s3.Client {
		return s3.NewFromConfig(config, func(o *s3.Options) {
			o.UsePathStyle = pathStyle
			if endpoint != "" {
				o.BaseEndpoint = &endpoint
			}
		})
	}
	o := &objects{
		bucket: u.Host, client: at(endpoint), clock: options.Clock,
		presign: s3.NewPresignClient(at(cmp.Or(public, endpoint))),
	}
	bucket, err := s3blob.OpenBucket(ctx, o.client, o.bucket, nil)
	if err != nil {
		return nil, fmt.Errorf("s3://bucket needs the name of a bucket: %w", err)
	}
	if err := o.reach(ctx, create); err != nil {
		return nil, err
	}
	return &Store{bucket, o}, nil
}

// reach makes sure that the bucket is there and ours to use.
func (o *objects) reach(ctx context.Context, create bool) error {
	_, err := o.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &o.bucket})
	switch {
	case err == nil:
		return nil
	case status(err) == http.StatusNotFound && create:
		var owned *types.BucketAlreadyOwnedByYou // by another replica, just now
		if _, err = o.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &o.bucket}); err == nil || errors.As(err, &owned) {
			return nil
		}
		return fmt.Errorf("the bucket %q cannot be made: %w", o.bucket, err)
	case status(err) == http.StatusNotFound:
		return fmt.Errorf("there is no bucket %q: make it, or add create_bucket=true to the URL", o.bucket)
	case status(err) == http.StatusForbidden:
		return fmt.Errorf("the bucket %q is not for us: look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do (ListBucket, GetObject, PutObject, DeleteObject)", o.bucket)
	}
	return fmt.Errorf("the bucket %q is out of reach: %w", o.bucket, err)
}

// put writes the object with its sha256, which is known only when all of it was read.
func (o *objects) put(ctx context.Context, key string, r io.Reader) (ports.BlobInfo, error) {
	var s spool
	defer s.close()
	info, err := pour(ctx, &s, r)
	if err != nil {
		return ports.BlobInfo{}, err
	}
	info.Key = key
	if info.Size > largestS3 {
		return ports.BlobInfo{}, errTooLarge
	}
	body, err := s.content()
	if err != nil {
		return ports.BlobInfo{}, translate(ctx, err)
	}
	sum, size, kind, none := checksum(info.SHA256), info.Size, octets, "*"
	// The signature is over the sha256 of the body, which need not be read again for it.
	_, err = o.client.PutObject(v4.SetPayloadHash(ctx, info.SHA256), &s3.PutObjectInput{
		Bucket: &o.bucket, Key: &key, Body: body, ContentLength: &size, ContentType: &kind, ChecksumSHA256: &sum, IfNoneMatch: &none,
	})
	if err == nil {
		return info, nil
	}
	// The latter is answered while another upload of it ends.
	if code := status(err); code == http.StatusPreconditionFailed || code == http.StatusConflict {
		old, err := o.stat(ctx, key)
		if err == nil && old != info {
			err = errExists
		}
		return old, err
	}
	return ports.BlobInfo{}, o.translate(ctx, err)
}

func (o *objects) stat(ctx context.Context, key string) (ports.BlobInfo, error) {
	head, err := o.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &o.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		return ports.BlobInfo{}, o.translate(ctx, err)
	}
	sum, err := base64.StdEncoding.DecodeString(aws.ToString(head.ChecksumSHA256))
	if err != nil || len(sum) != 32 {
		return ports.BlobInfo{}, domain.Unavailable("blobs_unavailable", "the object store does not keep the SHA-256 of what is stored")
	}
	return ports.BlobInfo{Key: key, Size: aws.ToInt64(head.ContentLength), SHA256: hex.EncodeToString(sum)}, nil
}

func (o *objects) remove(ctx context.Context, key string) error {
	_, err := o.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &o.bucket, Key: &key})
	if err != nil && status(err) != http.StatusNotFound {
		return o.translate(ctx, err)
	}
	return nil
}

func (o *objects) signPut(ctx context.Context, key string, p ports.PutOptions) (ports.SignedRequest, error) {
	if p.Size > largestS3 {
		return ports.SignedRequest{}, errTooLarge
	}
	sum := checksum(p.SHA256)
	good, expires := o.good(p.Expires)
	signed, err := o.presign.PresignPutObject(ctx, &s3.PutObjectInput{
		Bucket: &o.bucket, Key: &key, ContentLength: &p.Size, ChecksumSHA256: &sum,
	}, s3.WithPresignExpires(good), withHeaders)
	if err != nil {
		return ports.SignedRequest{}, o.translate(ctx, err)
	}
	h := signed.SignedHeader
	for _, name := range []string{"Host", "Content-Length"} {
		h.Del(name) // whoever sends it sets them
	}
	return ports.SignedRequest{Method: signed.Method, URL: signed.URL, Header: h, Expires: expires}, nil
}

// withHeaders has what is signed sent as headers: a server that takes a checksum for a mere
// parameter of the URL would not check the upload.
func withHeaders(p *s3.PresignOptions) {
	p.Presigner = v4.NewSigner(func(s *v4.SignerOptions) { s.DisableHeaderHoisting, s.DisableURIPathEscaping = true, true })
}

func (o *objects) signGet(ctx context.Context, key string, g ports.GetOptions) (ports.SignedRequest, error) {
	as, kind, cache := disposition(g.Filename), octets, "private, no-store"
	good, expires := o.good(g.Expires)
	signed, err := o.presign.PresignGetObject(ctx, &s3.GetObjectInput{
		Bucket: &o.bucket, Key: &key, ResponseContentDisposition: &as, ResponseContentType: &kind, ResponseCacheControl: &cache,
	}, s3.WithPresignExpires(good))
	if err != nil {
		return ports.SignedRequest{}, o.translate(ctx, err)
	}
	return ports.SignedRequest{Method: signed.Method, URL: signed.URL, Header: http.Header{}, Expires: expires}, nil
}

// good is for how long a link is signed, which S3 counts in seconds.
func (o *objects) good(asked time.Duration) (time.Duration, time.Time) {
	d := min(max(asked.Round(time.Second), time.Second), longestS3)
	return d, domain.Time(o.clock.Now().Add(d))
}

// ServeHTTP answers what asks for a link of ours: there is none.
func (o *objects) ServeHTTP(w http.ResponseWriter, _ *http.Request) { writeProblem(w, errBadLink) }

// checksum is a sha256 as S3 writes it.
func checksum(sum string) string {
	raw, _ := hex.DecodeString(sum) // it was computed, or checked
	return base64.StdEncoding.EncodeToString(raw)
}

var errTooLarge = domain.Invalid("object_too_large", "the object storage takes at most 5 GiB in one file")

// status is that of the answer that an error tells, or 0.
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// translate turns an error of the client into one of ours.
func (o *objects) translate(ctx context.Context, err error) error {
	if status(err) == http.StatusNotFound && ctx.Err() == nil {
		return domain.NotFound("object").With(err)
	}
	return translate(ctx, err)
}

// beyondEnd says that an object has no byte where it was asked for some.
func beyondEnd(err error) bool {
	var answer smithy.APIError
	return gcerrors.Code(err) != gcerrors.OK && errors.As(err, &answer) && answer.ErrorCode() == "InvalidRange"
}
