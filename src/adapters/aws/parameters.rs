//! What a cluster parameter group sets.
//!
//! A group has some five hundred parameters, a hundred to a page, and no filter by name
//! [bc:rds.DescribeDBClusterParameters]: its pages are read until the one is found.

use super::{AwsCloud, PAGES_MAX, rds::rds, too_many_pages};
use crate::domain::{cloud::ObserveError, id::Region};

impl AwsCloud {
    pub(super) async fn describe_cluster_parameter(
        &self,
        region: &Region,
        group: &str,
        name: &str,
    ) -> Result<Option<String>, ObserveError> {
        let call = rds("DescribeDBClusterParameters", region);
        let what = format!("cluster parameter group `{group}`");
        let read = async {
            let mut marker = None;
            for _ in 0..PAGES_MAX {
                let departure = self.departure();
                let result = self
                    .clients
                    .rds(region)
                    .describe_db_cluster_parameters()
                    .db_cluster_parameter_group_name(group)
                    .set_marker(marker)
                    .customize()
                    .interceptor(departure.clone())
                    .send()
                    .await;
                let page = self.ended(call, &departure, result).map_err(|f| f.into_observe_error(&what))?;
                if let Some(found) = page.parameters().iter().find(|p| p.parameter_name() == Some(name)) {
                    return Ok(found.parameter_value().map(str::to_owned));
                }
                marker = page.marker().filter(|m| !m.is_empty()).map(str::to_owned);
                if marker.is_none() {
                    return Ok(None);
                }
            }
            Err(too_many_pages(&what))
        };
        self.within(call, read).await
    }
}
