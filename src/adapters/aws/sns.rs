//! Publishing to topics, and looking whether they are there, in the topic's own Region.

use aws_config::retry::RetryConfig;
use aws_sdk_sns as sdk;
use aws_types::request_id::RequestId as _;

use super::{AwsCloud, Call, error::Failure};
use crate::domain::{
    cloud::{ObserveError, Outcome},
    id::Region,
};

impl AwsCloud {
    pub(super) async fn get_topic(&self, region: &Region, topic_arn: &str) -> Result<bool, ObserveError> {
        let call = Call { service: "sns", operation: "GetTopicAttributes", region };
        let read = async {
            let departure = self.departure();
            let request = self.clients.sns(region).get_topic_attributes().topic_arn(topic_arn);
            let result = request.customize().interceptor(departure.clone()).send().await;
            match self.ended(call, &departure, result).map_err(|f| f.into_observe_error(topic_arn)) {
                Ok(_) => Ok(true),
                Err(ObserveError::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.within(call, read).await
    }

    pub(super) async fn publish(&self, region: &Region, topic_arn: &str, subject: &str, message: &str) -> Outcome {
        // SNS publishes only to topics of the client's Region [bc].
        if topic_arn.split(':').nth(3) != Some(region.as_str()) {
            return Failure::NotSent { reason: format!("topic `{topic_arn}` is not in {region}") }.into_outcome();
        }
        let departure = self.departure();
        let result = self
            .clients
            .sns(region)
            .publish()
            .topic_arn(topic_arn)
            .subject(subject)
            .message(message)
            .customize()
            .interceptor(departure.clone())
            .config_override(sdk::Config::builder().retry_config(RetryConfig::disabled()))
            .send()
            .await;
        let call = Call { service: "sns", operation: "Publish", region };
        match self.ended(call, &departure, result) {
            Ok(output) => Outcome::Accepted {
                request_id: output.request_id().map(str::to_owned),
                handle: output.message_id().map(str::to_owned),
            },
            Err(failure) => failure.into_outcome(),
        }
    }
}
