//! What people were told, beside the journals: one item per application, which is written over.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::{
    DynamoStore,
    call::{self, Failure},
    found, item,
};
use crate::{
    domain::id::ApplicationName,
    ports::{
        Outboxes,
        outboxes::{Page, PutError, ReadFailed},
    },
};

#[async_trait]
impl Outboxes for DynamoStore {
    async fn page(&self, application: &ApplicationName) -> Result<Option<Page>, ReadFailed> {
        let get = self.calls.leases.get_item().table_name(&self.table).consistent_read(true);
        let got = get.set_key(Some(item::outbox_key(application))).send().await;
        let got = got.map_err(|e| ReadFailed { reason: call::failure(&e).to_string() })?;
        got.item.map(|item| item::outbox_of(&item)).transpose().map_err(|reason| ReadFailed { reason })
    }

    async fn put(&self, application: &ApplicationName, page: &Page) -> Result<(), PutError> {
        let put = self
            .calls
            .leases
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item::outbox(application, page)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match page.version.saturating_sub(1) {
            0 => put.condition_expression("attribute_not_exists(pk)"),
            before => put
                .condition_expression("#version = :before")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":before", AttributeValue::N(before.to_string())),
        };
        let Err(error) = put.send().await else { return Ok(()) };
        let failed = |reason| PutError::Failed { reason };
        let there = match (call::failure(&error), found(error)) {
            (Failure::Condition, Some(item)) => Some(item::outbox_of(&item).map_err(failed)?),
            // What is there was not told, or nothing is: it is looked at.
            (Failure::Condition, None) => self.page(application).await.map_err(|e| failed(e.reason))?,
            (failure, _) => return Err(failed(failure.to_string())),
        };
        match there {
            Some(there) if there == *page => Ok(()),
            there => Err(PutError::Lost { application: application.clone(), found: there.map(Box::new) }),
        }
    }
}
