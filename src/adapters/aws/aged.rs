//! Questions that change nothing and are signed too long ago: whether AWS refuses them for it.
//!
//! Invariant: only the service's own word for an old signature counts as a refusal. That the question was refused for
//! anything else (no permission, nothing there, no such operation) says that the signature was taken: AWS looks at it
//! first.

use super::{AwsCloud, Call, error, time};
use crate::domain::{
    cloud::ObserveError,
    id::Region,
    signature::{AgeAnswer, Aged},
};

impl AwsCloud {
    pub(super) async fn ask_aged(&self, question: &Aged) -> Result<AgeAnswer, ObserveError> {
        let ago = jiff::SignedDuration::try_from(question.family().aged());
        let signed_at = ago.map_or(jiff::Timestamp::UNIX_EPOCH, |ago| self.clock.wall() - ago);
        match time::signed_as_of(signed_at, self.read_for(question)).await {
            Err(ObserveError::Rejected { code, message }) if error::is_too_late(&code, &message) => {
                Ok(AgeAnswer::Refused { code })
            }
            Ok(())
            | Err(ObserveError::Rejected { .. } | ObserveError::NotFound { .. } | ObserveError::Malformed { .. }) => {
                Ok(AgeAnswer::Taken)
            }
            Err(error) => Err(error),
        }
    }

    async fn read_for(&self, question: &Aged) -> Result<(), ObserveError> {
        match question {
            Aged::Rds { region, global_cluster } => {
                self.describe_global_cluster(region, global_cluster).await.map(|_| ())
            }
            Aged::Route53 { hosted_zone_id, name, record_type } => {
                self.list_record_sets(hosted_zone_id, name, record_type).await.map(|_| ())
            }
            Aged::RoutingControls { endpoints, arn } => {
                self.get_routing_controls(endpoints, std::slice::from_ref(arn)).await.map(|_| ())
            }
            // No alarm of this name need exist.
            Aged::CloudWatch { region } => self.describe_alarms(region, &["failoverd".to_owned()]).await.map(|_| ()),
            Aged::Sns { region } => self.list_topics(region).await,
            Aged::S3 { region, bucket } => self.list_objects(region, bucket, None).await.map(|_| ()),
            Aged::Written(request) => self.ask_api(request).await.map(|_| ()),
        }
    }

    async fn list_topics(&self, region: &Region) -> Result<(), ObserveError> {
        let departure = self.departure();
        let request = self.clients.sns(region).list_topics().customize().interceptor(departure.clone());
        let call = Call { service: "sns", operation: "ListTopics", region };
        let listed = self.ended(call, &departure, request.send().await);
        listed.map(|_| ()).map_err(|failure| failure.into_observe_error("topics"))
    }
}
